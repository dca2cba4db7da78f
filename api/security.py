"""Who asks: everything under ``/v1`` wants an API key or an access token, and each sees the tables it is for."""

import secrets
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from api.problems import ProblemError, UnavailableError
from api.rate_limits import RateLimiter
from resources.api_keys import Action, ApiKey, ApiKeysError, KeyRing
from settings import UNLIMITED, Settings

if TYPE_CHECKING:
    from api.tokens import TokenVerifier

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key of this installation")
_bearer = HTTPBearer(
    auto_error=False,
    description="The same key as a bearer token; or, where the installation accepts those of an issuer, an access "
    "token (JWT) with scopes as `read:gold.*` and `live:bronze.traffic_events`",
)

INSTALLATION = ApiKey(
    id="installation",
    name="the key of this installation",
    sha256="",
    rate=UNLIMITED,
    created_at=datetime(2000, 1, 1, tzinfo=UTC),
)
"""The key in the settings, which may everything."""


class Caller(Protocol):
    """Who sent a request, by a key or a token, and what he may."""

    @property
    def id(self) -> str:
        """Says who it is, but is no secret."""

    @property
    def rate(self) -> str | None:
        """How many requests; ``None`` where the settings say."""

    def may_see(self, table: str) -> bool:
        """Whether he may know of the table."""

    def may(self, action: Action, table: str) -> bool:
        """Whether he may do that with the table."""

    def refusal(self, action: Action | None, table: str) -> str:
        """Why he may not do that with the table, or see it, and what to change."""


class UnauthorizedError(ProblemError):
    """The key is missing, wrong, expired or revoked; the answer does not say which."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.UNAUTHORIZED,
            "send a valid key in the header X-API-Key, or as Authorization: Bearer",
            headers={"WWW-Authenticate": 'Bearer realm="lakehouse"'},
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
    caller = await _caller(connection, header, bearer)
    # known before it is refused for its rate
    connection.state.key_id = caller.id
    limiter: RateLimiter = connection.app.state.limiter
    connection.state.rate_limit = await limiter.admit(caller.id, caller.rate)
    connection.state.caller = caller
    return caller


async def _caller(connection: HTTPConnection, header: str | None, bearer: str | None) -> Caller:
    state = connection.app.state
    settings: Settings = state.settings
    ring: KeyRing = state.keys
    tokens: TokenVerifier | None = state.tokens
    sent = header if header is not None else bearer or ""
    # bytes, because compare_digest refuses text beyond ASCII
    if secrets.compare_digest(sent.encode(), settings.api_key.get_secret_value().encode()):
        return INSTALLATION
    if tokens is not None and header is None and sent.count(".") == 2:
        return await tokens.holder(sent)
    try:
        key = ring.find(sent, datetime.now(UTC)) if sent else None
    except ApiKeysError as error:
        raise UnavailableError("the keys cannot be read now") from error
    if key is None:
        raise UnauthorizedError
    return key


def sent_key(headers: Headers) -> tuple[str | None, str | None]:
    """The key that a request carries: that of ``X-API-Key``, and what ``Authorization`` has as bearer."""
    scheme, _, credentials = headers.get("Authorization", "").partition(" ")
    return headers.get("X-API-Key"), credentials if scheme.lower() == "bearer" else None


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
    connection.state.access = (action, table)
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
            caller = await _caller(self._connection, *self._sent)
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
        return Permission(request, *sent_key(request.headers), action, table)

    return Depends(permission)
