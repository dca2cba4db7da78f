"""Who asks: everything under ``/v1`` wants an API key or an access token, and each sees the tables it is for."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from api.callers import Caller, Callers, UnauthorizedError, sent_key
from api.headers import sent_headers
from api.problems import ProblemError, UnavailableError
from api.rate_limits import RateLimiter
from resources.api_keys import Action

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key of this installation")
_bearer = HTTPBearer(
    auto_error=False,
    description="The same key as a bearer token; or, where the installation accepts those of an issuer, an access "
    "token (JWT) with scopes as `read:gold.*` and `live:bronze.traffic_events`",
)


class ForbiddenError(ProblemError):
    """The key or token is valid, but not for this."""

    def __init__(self, caller: Caller, action: Action | None, table: str) -> None:
        scope = f"{action or Action.READ}:{table}"
        super().__init__(
            HTTPStatus.FORBIDDEN,
            caller.refusal(action, table),
            headers={
                "WWW-Authenticate": f'Bearer realm="lakehouse", error="insufficient_scope", scope="{scope}"',
            },
        )


async def authenticate(connection: HTTPConnection, header: str | None, bearer: str | None) -> Caller:
    """Return who sent the key in ``header``, or the key or token in ``bearer``, and count the request.

    Raises:
        UnauthorizedError: no key was sent, or none that is valid.
        InvalidTokenError: the token is not valid.
        TooManyRequestsError: he has sent as many requests as he may.
        UnavailableError: the file of keys is not readable, or the keys that tokens are signed with are not.
    """
    app, noted = connection.app.state, connection.scope["state"]
    callers: Callers = app.callers
    limiter: RateLimiter = app.limiter
    caller = await callers.find(header, bearer)
    # known before it is refused for its rate
    noted["key_id"] = caller.id
    noted["rate_limit"] = await limiter.admit(caller.id, caller.rate)
    noted["caller"] = caller
    return caller


async def require_key(
    request: Request,
    header: Annotated[str | None, Security(_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Caller:
    """Return who sent the request, as :class:`api.access.Access` has found; both parameters are for the OpenAPI.

    Raises:
        UnauthorizedError: the request has not been there.
    """
    return caller_of(request)


def caller_of(connection: HTTPConnection) -> Caller:
    """Who sent a request that was let in.

    Raises:
        UnauthorizedError: it was not.
    """
    caller: Caller | None = getattr(connection.state, "caller", None)
    if caller is None:
        raise UnauthorizedError
    return caller


def permit(connection: HTTPConnection, caller: Caller, action: Action, table: str) -> None:
    """Note what the connection is about.

    Raises:
        ForbiddenError: the caller may not do that.
    """
    connection.scope["state"]["access"] = (action, table)
    if not caller.may(action, table):
        raise ForbiddenError(caller, action, table)


class Permission:
    """What a connection that stays open was let in with: a key may be revoked, a token may expire meanwhile."""

    def __init__(
        self, connection: HTTPConnection, header: str | None, bearer: str | None, action: Action, table: str
    ) -> None:
        self._connection = connection
        self._sent = header, bearer
        self._action = action
        self._table = table

    async def holds(self) -> bool:
        """Whether it would be let in now, too; where that cannot be known, nothing has changed.

        That is not counted as a request.
        """
        try:
            callers: Callers = self._connection.app.state.callers
            caller = await callers.find(*self._sent)
        except UnavailableError:
            return True
        except ProblemError:
            return False
        return caller.may(self._action, self._table)


RequiresKey = Depends(require_key)
SentKey = Annotated[Caller, RequiresKey]
"""Who sent the request."""


def requires(action: Action, table: str) -> Any:  # noqa: ANN401  what Depends returns
    """Dependency of a route that shows what is in ``table``; answers 403 to who may not do that."""

    async def permitted(request: Request) -> None:
        permit(request, caller_of(request), action, table)

    return Depends(permitted)


def keeps(action: Action, table: str) -> Any:  # noqa: ANN401  what Depends returns
    """Dependency of a route that goes on showing what is in ``table``: as ``requires``, and gives a permission."""

    async def permission(request: Request) -> Permission:
        permit(request, caller_of(request), action, table)
        return Permission(request, *sent_key(sent_headers(request.scope)), action, table)

    return Depends(permission)
