"""Errors as RFC 9457 problem documents (``application/problem+json``)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from api.headers import REQUEST_ID, missing_defaults

MEDIA_TYPE = "application/problem+json"

ABOUT_BLANK = "about:blank"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
"""Type of problem in draft-ietf-httpapi-ratelimit-headers-10, section "Problem Types"."""

RETRY_AFTER_S = 5
"""Seconds that a client is asked to wait for a service that does not answer: about what its restart takes."""


class InvalidParameter(BaseModel):
    """One parameter that is wrong, and why."""

    parameter: str = Field(description="Name of the parameter, as it was sent")
    detail: str = Field(description="What is wrong with it and what is allowed")


class Problem(BaseModel):
    """What went wrong and what to change (RFC 9457)."""

    model_config = ConfigDict(
        populate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "there is no table 'bronze.trafic_events': did you mean bronze.traffic_events?",
                }
            ]
        },
    )

    type: str = Field(
        default=ABOUT_BLANK, description="`about:blank`: the status says what kind it is; status 429 has its own"
    )
    title: str = Field(description="The status in words")
    status: int = Field(description="The HTTP status")
    detail: str = Field(description="What to change")
    errors: list[InvalidParameter] | None = Field(
        default=None, description="The wrong parameters, for status 422 only"
    )
    violated_policies: list[str] | None = Field(
        default=None,
        alias="violated-policies",
        description="The limits that were exceeded, as `RateLimit-Policy` names them, for status 429 only",
    )
    request_id: str | None = Field(
        default=None, description="Which request it was: its lines in the service's log have the same"
    )


class ProblemError(Exception):
    """An error that a client sees as a problem document."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: Sequence[InvalidParameter] | None = None,
        violated_policies: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.violated_policies = violated_policies
        self.headers = headers


class InvalidParametersError(ProblemError):
    """Parameters that do not fit the table's contract."""

    def __init__(self, errors: Sequence[InvalidParameter]) -> None:
        detail = "; ".join(f"{error.parameter}: {error.detail}" for error in errors)
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


class UnavailableError(ProblemError):
    """What an answer needs does not answer, as catalog and object store, or is not there yet."""

    def __init__(self, detail: str, *, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(retry_after_s)})


def problem_response(
    request: HTTPConnection,
    status: int,
    detail: str,
    *,
    errors: Sequence[InvalidParameter] | None = None,
    violated_policies: Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Answer ``request`` with a problem document."""
    problem = Problem(
        type=ABOUT_BLANK if violated_policies is None else QUOTA_EXCEEDED,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        errors=None if errors is None else list(errors),
        violated_policies=None if violated_policies is None else list(violated_policies),
        request_id=request.state.request_id,
    )
    document = problem.model_dump(by_alias=True, exclude_none=True)
    return Response(orjson.dumps(document), status, headers, media_type=MEDIA_TYPE)


def problem_of(request: HTTPConnection, error: ProblemError) -> Response:
    """The answer that says ``error``."""
    return problem_response(
        request,
        error.status,
        error.detail,
        errors=error.errors,
        violated_policies=error.violated_policies,
        headers=error.headers,
    )


def handle_problems(app: FastAPI) -> None:
    """Make every error of ``app`` a problem document, without a stack trace."""

    @app.exception_handler(ProblemError)
    async def _problem(request: Request, error: ProblemError) -> Response:
        return problem_of(request, error)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        detail = {
            HTTPStatus.NOT_FOUND: f"there is nothing at {request.url.path}: see /docs for what there is",
            HTTPStatus.METHOD_NOT_ALLOWED: f"{request.method} is not possible here: use GET",
        }.get(HTTPStatus(error.status_code), error.detail)
        return problem_response(request, error.status_code, detail, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        invalid = InvalidParametersError(
            [
                InvalidParameter(parameter=str(problem["loc"][-1]), detail=problem["msg"])
                for problem in error.errors()
            ]
        )
        return problem_response(request, invalid.status, invalid.detail, errors=invalid.errors)

    @app.exception_handler(Exception)
    async def _unexpected(request: Request, _: Exception) -> Response:
        # outside of all middleware, which gives other answers their headers
        defaults = {name.decode(): value.decode() for name, value in missing_defaults({})}
        return problem_response(
            request,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "an unexpected error, which the service's log explains",
            headers={REQUEST_ID: request.state.request_id, **defaults},
        )


def _example(status: HTTPStatus, detail: str) -> dict[str, object]:
    return Problem(title=status.phrase, status=status, detail=detail).model_dump(exclude_none=True)


def problem_responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, object]]:
    """OpenAPI descriptions of the errors that a route answers with.

    Where it asks for a key (401), requests are limited (429), and the keys of tokens may be out of reach (503).
    """
    if HTTPStatus.UNAUTHORIZED in statuses:
        # a dict, as a route may name them itself
        of_keys = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
        statuses = tuple(dict.fromkeys((*statuses, *of_keys)))
    described = {
        HTTPStatus.UNAUTHORIZED: (
            "The key or token is missing, wrong, expired or revoked.",
            "send a valid key in the header X-API-Key, or as Authorization: Bearer",
        ),
        HTTPStatus.FORBIDDEN: (
            "The key or token is not for this table, or not for this use of it.",
            "key 1f0c9a2e may read gold.*: this needs one that was made with ./lakehouse keys create NAME "
            "--table bronze.traffic_events --action read",
        ),
        HTTPStatus.NOT_FOUND: (
            "There is no such table, or no such snapshot of it.",
            "there is no table 'bronze.trafic_events': did you mean bronze.traffic_events?",
        ),
        HTTPStatus.NOT_ACCEPTABLE: (
            "No format is what the header Accept asks for.",
            "Accept: 'image/png' is none of application/json, text/csv; or send format=json",
        ),
        HTTPStatus.CONFLICT: (
            "The snapshot that the cursor reads was expired.",
            "the snapshot 6218345912345678901 that this cursor reads was expired: start again without a cursor",
        ),
        HTTPStatus.UNPROCESSABLE_ENTITY: (
            "A parameter is unknown or does not fit the table; `errors` names each.",
            "limit: Input should be greater than or equal to 1",
        ),
        HTTPStatus.TOO_MANY_REQUESTS: (
            "The key, or the holder of the token, has sent as many requests as it may. `RateLimit-Policy` and "
            "`RateLimit` say how many that is, `Retry-After` in how many seconds the next is answered.",
            "the limit of 1f0c9a2e is 600 requests in 60 s: send the next in 3 s, or ask for a key with a higher "
            "--rate",
        ),
        HTTPStatus.SERVICE_UNAVAILABLE: (
            "The catalog, the object store or the issuer of a token does not answer, a table is not there yet, a "
            "query took too long, or too much is streamed. "
            "`Retry-After` says in how many seconds to try again.",
            f"the catalog or the object store does not answer: try again in {RETRY_AFTER_S} s",
        ),
    }
    return {
        status.value: {
            "description": described[status][0],
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": _example(status, described[status][1]),
                }
            },
        }
        for status in statuses
    }
