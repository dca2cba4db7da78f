"""Waits for what has to be observed before a scenario goes on."""

from collections.abc import Callable

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from stack.chaos.errors import ScenarioError

PATIENCE_S = 300.0
"""Longer than any recovery that is still one: the sinks alone retry a commit for minutes."""
POLL_S = 0.2


def until(look: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S, poll_s: float = POLL_S) -> None:
    """Wait until ``look`` is true.

    Raises:
        ScenarioError: it is not within ``patience_s`` seconds; ``what`` says what was waited for.
    """
    retrying = Retrying(
        retry=retry_if_result(lambda reached: not reached),
        stop=stop_after_delay(patience_s),
        wait=wait_fixed(poll_s),
    )
    try:
        retrying(look)
    except RetryError as error:
        raise ScenarioError(f"not within {patience_s:.0f} s: {what}") from error
