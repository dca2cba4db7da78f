"""Who may use the API besides its own keys, from which pages, and how often."""

import re
from typing import Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, model_validator

UNLIMITED = "unlimited"

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_RATE = re.compile(r"([1-9]\d{0,8})/(" + "|".join(_UNITS) + ")")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]  # fmt: skip
"""How a token may be signed (RFC 7518, section 3.1; RFC 8037): with a key that the API does not have. Where it has
the key, as for HS256, whoever reads the API's settings can sign."""


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    requests: int
    seconds: int


def parse_rate(text: str) -> Rate | None:
    """Read ``600/minute``; ``None`` for ``unlimited``.

    Raises:
        ValueError: it is neither.
    """
    if text == UNLIMITED:
        return None
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(
            f"a rate is a number/{'|'.join(_UNITS)}, as 600/minute, or {UNLIMITED}: not {text[:40]!r}"
        )
    return Rate(int(match[1]), _UNITS[match[2]])


class TokenSettings(BaseModel):
    """Whose access tokens (RFC 9068) count, ``LAKEHOUSE_API_TOKENS__<NAME>``: nobody's without an issuer."""

    issuer: str = ""
    audience: str = ""
    """What the issuer calls this API."""
    jwks_url: str = ""
    """Address of the issuer's keys (RFC 7517)."""
    algorithms: tuple[Algorithm, ...] = Field(default=("RS256", "ES256"), min_length=1)
    scope_claim: str = "scope"
    """Claim with the scopes, as ``read:gold.*``: a text with blanks between them, or a list."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.issuer:
            return self
        missing = [name for name in ("audience", "jwks_url") if not getattr(self, name)]
        if missing:
            names = " and ".join(f"LAKEHOUSE_API_TOKENS__{name.upper()}" for name in missing)
            raise ValueError(f"tokens of an issuer need {names}")
        url = urlsplit(self.jwks_url)
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOCAL):
            raise ValueError(
                "LAKEHOUSE_API_TOKENS__JWKS_URL begins with https://: who can change keys on their way can sign"
            )
        return self


def check_origin(text: str) -> str:
    """Return ``text`` if it is the origin of a page (RFC 6454), as browsers send it, or ``*``.

    Raises:
        ValueError: it is none.
    """
    url = urlsplit(text)
    if text != "*" and (
        url.scheme not in {"http", "https"} or not url.netloc or text != f"{url.scheme}://{url.netloc}"
    ):
        raise ValueError(f"an origin is as https://map.example.org, without a path: not {text[:80]!r}")
    return text
