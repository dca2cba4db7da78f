"""Posts JSON to a webhook."""

from collections.abc import Mapping

import httpx
from pydantic import JsonValue, SecretStr
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_fixed

from contracts import LakehouseError

TIMEOUT = httpx.Timeout(3.0, connect=2.0)
ATTEMPTS = 2
"""A tick of a sensor may post five alerts and has a minute for all of them."""
PAUSE_S = 1.0
TOO_MANY_REQUESTS = 429


class WebhookError(LakehouseError):
    """The receiver does not answer or refuses; the message names its host only, since the path may be a secret."""


def post_json(url: SecretStr, payload: Mapping[str, JsonValue]) -> None:
    """Post ``payload``; once more after a second if the receiver does not answer or is busy.

    A receiver that took the first post and did not say so in time gets it twice.

    Raises:
        WebhookError: it was not accepted.
    """
    address = httpx.URL(url.get_secret_value())
    retrying = Retrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_fixed(PAUSE_S),
        reraise=True,
    )
    try:
        retrying(_post, address, payload)
    except httpx.HTTPStatusError as error:
        raise _refused(address, f"answers {error.response.status_code}") from None
    except httpx.HTTPError as error:
        raise _refused(address, f"does not answer ({type(error).__name__})") from None


def _post(address: httpx.URL, payload: Mapping[str, JsonValue]) -> None:
    httpx.post(address, json=payload, timeout=TIMEOUT).raise_for_status()


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.is_server_error or error.response.status_code == TOO_MANY_REQUESTS
    return isinstance(error, httpx.TransportError)


def _refused(address: httpx.URL, what: str) -> WebhookError:
    return WebhookError(f"the webhook at {address.host} {what}: check LAKEHOUSE_ALERT_WEBHOOK_URL")
