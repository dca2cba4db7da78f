"""Readiness by HTTP."""

import httpx

PROBE_TIMEOUT_S = 5


def answers(url: str, *, headers: dict[str, str] | None = None) -> bool:
    """Whether ``url`` answers 200 now."""
    return get_json(url, headers=headers) is not None


def get_json(url: str, *, headers: dict[str, str] | None = None) -> object | None:
    """Body of a 200 answer (the text where it is not JSON), else ``None``."""
    try:
        response = httpx.get(url, headers=headers, timeout=PROBE_TIMEOUT_S)
    except httpx.TransportError:
        return None
    if response.status_code != httpx.codes.OK:
        return None
    try:
        body: object = response.json()
    except ValueError:
        return response.text
    return body
