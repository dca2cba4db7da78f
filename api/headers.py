"""Fields that every answer has, and what browsers let pages of other origins do."""

from collections.abc import Mapping

from starlette.types import Scope

Fields = list[tuple[bytes, bytes]]

REQUEST_ID = "X-Request-ID"

NOTHING = b"default-src 'none'; frame-ancestors 'none'"
"""What a page may load, of an answer that is none."""
NO_FRAME = b"frame-ancestors 'none'"
"""For pages without a policy of their own: the documentation, whose scripts come from elsewhere."""

DEFAULTS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # what a key lets through is not for caches that others use
    (b"cache-control", b"no-store"),
)
"""Of answers that do not say otherwise, after OWASP's REST Security Cheat Sheet. That an address is for TLS alone
is for the server to say that ends it."""

CORS_METHODS = ("GET", "HEAD")
CORS_REQUEST_HEADERS = ("Accept", "Authorization", "If-None-Match", "Last-Event-ID", "X-API-Key", REQUEST_ID)
CORS_ANSWER_HEADERS = (
    "ETag",
    "Lakehouse-Freshness-Ms",
    "Lakehouse-Has-More",
    "Lakehouse-Next-Cursor",
    "Lakehouse-Quality",
    "Lakehouse-Reaches",
    "Lakehouse-Snapshot-Id",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    REQUEST_ID,
)


def missing_defaults(present: Mapping[bytes, bytes]) -> Fields:
    """What an answer with the fields ``present``, whose names are in lower case, does not have."""
    missing = [field for field in DEFAULTS if field[0] not in present]
    if b"content-security-policy" not in present:
        is_page = present.get(b"content-type", b"").startswith(b"text/html")
        missing.append((b"content-security-policy", NO_FRAME if is_page else NOTHING))
    return missing


def has_begun(scope: Scope) -> bool:
    """Whether the answer to a request is on its way."""
    return "begun" in scope["state"]


def sent_headers(scope: Scope) -> Mapping[bytes, bytes]:
    """The header fields of a request by their names in lower case: the first where there are several."""
    sent: Mapping[bytes, bytes] = scope["state"]["headers"]
    return sent
