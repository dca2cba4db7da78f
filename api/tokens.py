"""Access tokens of an issuer (JWT, RFC 7519 and RFC 9068), verified with the keys that it publishes (RFC 7517)."""

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from math import ceil
from typing import Any

import jwt
from anyio import fail_after, to_thread

from api.problems import ProblemError, UnavailableError
from resources.api_keys import Action
from settings import TokenSettings

REALM = 'Bearer realm="lakehouse"'

LEEWAY_S = 30
"""How far the clocks of the issuer and of this machine may differ."""
KEEP_S = 300.0
"""Age at which keys are asked for again, while they go on to be used."""
COOLDOWN_S = 10.0
"""Time between two requests for keys: anybody can send a token that names a key which nobody has."""
FETCH_TIMEOUT_S = 5.0

_SCOPE = re.compile(rf"({'|'.join(Action)}):(\S+)")
_REASONS: Mapping[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is not for this API",
    jwt.InvalidIssuerError: "it is from another issuer",
    jwt.InvalidAlgorithmError: "it is signed by an algorithm that is not allowed",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.InvalidKeyError: "its issuer has no key of that name",
}
_ASYMMETRIC = frozenset({"RSA", "EC", "OKP"})

logger = logging.getLogger(__name__)


class InvalidTokenError(ProblemError):
    """A token that is not accepted (RFC 6750, section 3.1); the answer says why, but nothing that is in it."""

    def __init__(self, why: str) -> None:
        super().__init__(
            HTTPStatus.UNAUTHORIZED,
            f"the token is not accepted: {why}. Get another from its issuer, or send a key as X-API-Key",
            headers={"WWW-Authenticate": f'{REALM}, error="invalid_token", error_description="{why}"'},
        )


class SigningKeysUnavailableError(UnavailableError):
    """The issuer's keys cannot be read, and the token names one that was not seen before."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            f"the keys of the token's issuer cannot be read now: try again in {retry_after_s} s",
            retry_after_s=retry_after_s,
        )


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Whom a token was issued to, and its scopes, as pairs of an action and a pattern of tables."""

    id: str
    scopes: tuple[tuple[Action, str], ...]
    rate: str | None = None

    def may_see(self, table: str) -> bool:
        """Whether it may know of the table."""
        return any(fnmatchcase(table, pattern) for _, pattern in self.scopes)

    def may(self, action: Action, table: str) -> bool:
        """Whether it may do that with the table."""
        return any(fnmatchcase(table, pattern) for granted, pattern in self.scopes if granted is action)

    def refusal(self, action: Action | None, table: str) -> str:
        """Why it may not do that with the table, or see it, and what to change."""
        scopes = " ".join(f"{granted}:{pattern}" for granted, pattern in self.scopes) or "none for tables"
        return f"the token's scopes are {scopes}: this needs {action or Action.READ}:{table}"


class TokenVerifier:
    """Verifies tokens of one issuer; belongs to one event loop."""

    def __init__(self, settings: TokenSettings) -> None:
        self._settings = settings
        self._keys = SigningKeys(settings.jwks_url)

    async def holder(self, token: str) -> TokenHolder:
        """Return whom ``token`` was issued to.

        Raises:
            InvalidTokenError: it is none of the issuer's, is not for this API, or has expired.
            SigningKeysUnavailableError: its key is unknown, and the issuer's keys cannot be read.
        """
        try:
            key = await self._keys.get(jwt.get_unverified_header(token).get("kid"))
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key,
                algorithms=self._settings.algorithms,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            raise InvalidTokenError(_why(error)) from error
        return TokenHolder(f"token:{claims['sub']}", tuple(_scopes(claims.get(self._settings.scope_claim))))


class SigningKeys:
    """The public keys of an issuer; those that are known stay so while it does not answer."""

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_TIMEOUT_S)
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None
        self._failed = False

    async def get(self, identifier: object) -> jwt.PyJWK:
        """Return a key by its identifier (``kid``); asks the issuer for one that is unknown, but not too often.

        Raises:
            jwt.InvalidKeyError: the issuer has no such key.
            SigningKeysUnavailableError: it is unknown, and the issuer does not answer.
        """
        if not isinstance(identifier, str):
            raise jwt.InvalidKeyError("no key is named")
        known = self._keys.get(identifier)
        age = time.monotonic() - self._asked_at
        if known is not None:
            if age > (COOLDOWN_S if self._failed else KEEP_S):
                self._ask()
            return known
        if self._asking is not None or age > COOLDOWN_S:
            # one who goes away must not take the answer from the others
            await asyncio.shield(self._ask())
        if identifier in self._keys:
            return self._keys[identifier]
        if self._failed:
            raise SigningKeysUnavailableError(max(1, ceil(self._asked_at + COOLDOWN_S - time.monotonic())))
        raise jwt.InvalidKeyError("the issuer has no such key")

    def _ask(self) -> asyncio.Task[None]:
        if self._asking is None:
            self._asked_at = time.monotonic()
            self._asking = asyncio.create_task(self._fetch())
        return self._asking

    async def _fetch(self) -> None:
        try:
            with fail_after(FETCH_TIMEOUT_S):
                keys = await to_thread.run_sync(self._client.get_signing_keys, abandon_on_cancel=True)
        except (jwt.PyJWTError, OSError, ValueError) as error:
            self._failed = True
            logger.warning("the keys of the issuer of tokens cannot be read: %s", error)
        else:
            self._failed = False
            self._keys = {str(key.key_id): key for key in keys if key.key_type in _ASYMMETRIC}
        finally:
            self._asking = None


def _scopes(claim: object) -> Iterable[tuple[Action, str]]:
    """Those of the scopes that are about tables; an issuer has others as well."""
    scopes = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else ()
    for scope in scopes:
        if match := _SCOPE.fullmatch(str(scope)):
            yield Action(match[1]), match[2]


def _why(error: jwt.PyJWTError) -> str:
    """What is wrong with a token, in words that hold nothing of it: they stand in a header."""
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it lacks the claim {error.claim}"
    return next((why for kind, why in _REASONS.items() if isinstance(error, kind)), "it is malformed")
