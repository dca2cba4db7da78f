"""Who may ask: the holder of a key or an access token, and what he may."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from api.problems import ProblemError, UnavailableError
from resources.api_keys import Action, ApiKey, ApiKeysError, KeyFile, KeyRing
from settings import UNLIMITED, Settings, TokenSettings

if TYPE_CHECKING:
    from api.tokens import TokenVerifier

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


class Callers:
    """Knows the keys of an installation, and the tokens that it accepts."""

    def __init__(self, settings: Settings) -> None:
        # bytes, because compare_digest refuses text beyond ASCII
        self._installation = settings.api_key.get_secret_value().encode()
        self._ring = KeyRing(KeyFile(settings.api_keys_file))
        self._tokens = _token_verifier(settings.api_tokens)

    async def find(self, header: str | None, bearer: str | None) -> Caller:
        """Return who has the key in ``header``, or the key or token in ``bearer``.

        Raises:
            UnauthorizedError: no key was sent, or none that is valid.
            InvalidTokenError: the token is not valid.
            UnavailableError: the file of keys is not readable, or the keys that tokens are signed with are not.
        """
        sent = header if header is not None else bearer or ""
        if secrets.compare_digest(sent.encode(), self._installation):
            return INSTALLATION
        if self._tokens is not None and header is None and sent.count(".") == 2:
            return await self._tokens.holder(sent)
        try:
            key = self._ring.find(sent, datetime.now(UTC)) if sent else None
        except ApiKeysError as error:
            raise UnavailableError("the keys cannot be read now") from error
        if key is None:
            raise UnauthorizedError
        return key


def sent_key(headers: Mapping[bytes, bytes]) -> tuple[str | None, str | None]:
    """The key that a request carries: that of ``X-API-Key``, and what ``Authorization`` has as bearer."""
    header, authorization = headers.get(b"x-api-key"), headers.get(b"authorization")
    bearer = None
    if authorization is not None:
        scheme, _, credentials = authorization.decode("latin-1").partition(" ")
        bearer = credentials if scheme.lower() == "bearer" else None
    return None if header is None else header.decode("latin-1"), bearer


def _token_verifier(settings: TokenSettings) -> "TokenVerifier | None":
    if not settings.issuer:
        return None
    # who has no issuer need not wait for the libraries of cryptography
    from api.tokens import TokenVerifier

    return TokenVerifier(settings)
