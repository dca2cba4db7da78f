"""Fields that every answer has, and what browsers let pages of other origins do."""

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


def with_defaults(fields: Fields) -> Fields:
    """Add what ``fields``, whose names are in lower case, do not have."""
    present = dict(fields)
    added = [field for field in DEFAULTS if field[0] not in present]
    if b"content-security-policy" not in present:
        is_page = present.get(b"content-type", b"").startswith(b"text/html")
        added.append((b"content-security-policy", NO_FRAME if is_page else NOTHING))
    return fields + added
