"""The API key, which everything under ``/v1`` asks for."""

import secrets
from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from api.problems import ProblemError
from settings import Settings

_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The key of this installation")
_bearer = HTTPBearer(auto_error=False, description="The same key as a bearer token")


class UnauthorizedError(ProblemError):
    """The key is missing or wrong; the answer does not say which."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.UNAUTHORIZED,
            "send the key in the header X-API-Key, or as Authorization: Bearer",
            headers={"WWW-Authenticate": 'Bearer realm="lakehouse"'},
        )


async def require_key(
    request: Request,
    header: Annotated[str | None, Security(_header)],
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> None:
    """Let only requests with the key pass.

    Raises:
        UnauthorizedError: no key was sent, or another.
    """
    settings: Settings = request.app.state.settings
    sent = header if header is not None else bearer.credentials if bearer is not None else ""
    # bytes, because compare_digest refuses text beyond ASCII
    if not secrets.compare_digest(sent.encode(), settings.api_key.get_secret_value().encode()):
        raise UnauthorizedError


RequiresKey = Depends(require_key)
