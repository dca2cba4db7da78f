"""Query parameters that are unknown or come twice are refused: a typo must not change an answer."""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence

from fastapi import Depends
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute, APIWebSocketRoute
from starlette.requests import HTTPConnection

from api.problems import InvalidParameter, InvalidParametersError


def refuse_repeated(
    names: Sequence[str], errors: list[InvalidParameter], *, hint: Callable[[str], str] = lambda _: ""
) -> None:
    """Note each name that was sent more than once, with what ``hint`` makes of it."""
    for name, times in Counter(names).items():
        if times > 1:
            detail = f"given {times} times{hint(name) or ': send it once'}"
            errors.append(InvalidParameter(parameter=name[:80], detail=detail))


def similar(name: str, known: Sequence[str]) -> str:
    """A question that names those of ``known`` that ``name`` may stand for; nothing where none is like it."""
    near = difflib.get_close_matches(name[:80], known, n=3)
    return f"did you mean {', '.join(near)}? " if near else ""


async def refuse_unknown(connection: HTTPConnection) -> None:
    """Raise InvalidParametersError unless the route declares every parameter that was sent, and each came once."""
    route = connection.scope.get("route")
    if not connection.scope["query_string"] or not isinstance(route, APIRoute | APIWebSocketRoute):
        return
    if isinstance(route, APIRoute) and not route.include_in_schema:
        return
    known = [field.alias for field in get_flat_params(route.dependant) if isinstance(field.field_info, Query)]
    sent = [name for name, _ in connection.query_params.multi_items()]
    errors: list[InvalidParameter] = []
    refuse_repeated(sent, errors)
    for name in dict.fromkeys(sent):
        if name not in known:
            allowed = f"Allowed are {', '.join(known)}" if known else "Nothing is allowed here"
            detail = f"unknown parameter: {similar(name, known)}{allowed}"
            errors.append(InvalidParameter(parameter=name[:80], detail=detail))
    if errors:
        raise InvalidParametersError(errors)


OnlyKnownParameters = Depends(refuse_unknown)
"""For routers whose routes declare all their parameters; hidden routes answer for what is not there."""
