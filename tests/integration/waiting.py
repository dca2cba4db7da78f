"""Waits for what a test has to observe."""

from collections.abc import Callable

import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

PATIENCE_S = 180


def until(look: Callable[[], bool], what: str) -> None:
    """Wait for ``look`` to be true, and fail the test where it does not come to be."""
    retrying = Retrying(
        retry=retry_if_result(lambda reached: not reached),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_fixed(0.5),
        retry_error_callback=lambda state: pytest.fail(f"not within {PATIENCE_S} s: {what}"),
    )
    retrying(look)
