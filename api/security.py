"""API keys: everything under ``/v1`` asks for one, and each sees the tables that it was made for."""

import secrets
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError, UnavailableError
from resources.api_keys import Action, ApiKey, ApiKeysError, KeyRing
from settings import Settings

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="A key of this installation")
_bearer = HTTPBearer(auto_error=False, description="The same key as a bearer token")

INSTALLATION = ApiKey(
    id="installation", name="the key of this installation", sha256="", created_at=datetime(2000, 1, 1, tzinfo=UTC)
)
"""The key in the settings, which may everything."""


class UnauthorizedError(ProblemError):
    """The key is missing, wrong, expired or revoked; the answer does not say which."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.UNAUTHORIZED,
            "send a valid key in the header X-API-Key, or as Authorization: Bearer",
            headers={"WWW-Authenticate": 'Bearer realm="lakehouse"'},
        )


class ForbiddenError(ProblemError):
    """The key is valid, but not for this."""

    def __init__(self, key: ApiKey, action: Action | None, table: str) -> None:
        wanted = f"--table {table}" + ("" if action is None else f" --action {action}")
        super().__init__(
            HTTPStatus.FORBIDDEN,
            f"key {key.id} may {' and '.join(key.actions)} {', '.join(key.tables)}: this needs one that was made "
            f"with ./lakehouse keys create NAME {wanted}",
            headers={"WWW-Authenticate": 'Bearer realm="lakehouse", error="insufficient_scope"'},
        )


async def require_key(
    request: Request,
    header: Annotated[str | None, Security(_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> ApiKey:
    """Let only requests with a valid key pass, and return that key.

    Raises:
        UnauthorizedError: no key was sent, or none that is valid.
        UnavailableError: the file of keys is not readable.
    """
    settings: Settings = request.app.state.settings
    ring: KeyRing = request.app.state.keys
    sent = header if header is not None else bearer.credentials if bearer is not None else ""
    # bytes, because compare_digest refuses text beyond ASCII
    if secrets.compare_digest(sent.encode(), settings.api_key.get_secret_value().encode()):
        key: ApiKey | None = INSTALLATION
    else:
        try:
            key = ring.find(sent, datetime.now(UTC)) if sent else None
        except ApiKeysError as error:
            raise UnavailableError("the keys cannot be read now") from error
    if key is None:
        raise UnauthorizedError
    request.state.key_id = key.id
    return key


RequiresKey = Depends(require_key)
SentKey = Annotated[ApiKey, RequiresKey]
"""The key of the request."""


def requires(action: Action, table: str) -> Any:  # noqa: ANN401  what Depends returns
    """Dependency of a route that shows what is in ``table``; answers 403 for a key that may not do that."""

    async def permitted(key: SentKey) -> None:
        if not key.may(action, table):
            raise ForbiddenError(key, action, table)

    return Depends(permitted)
