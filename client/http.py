"""Requests to the API: what is worth another try, and what the errors say."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from client.errors import ApiError, NotReachableError

AGAIN_LATER = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.BAD_GATEWAY})
LONGEST_WAIT_S = 30.0

Parameters = Sequence[tuple[str, str]]


class _AgainLater(Exception):  # noqa: N818  it ends as another error, or as none
    """An answer that another try may better."""

    def __init__(self, cause: Exception, after_s: float | None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.after_s = after_s


class Requests:
    """Sends requests with the key; every route is read-only, so that each may be sent again."""

    def __init__(
        self, url: str, key: str, *, timeout_s: float, attempts: int, transport: httpx.BaseTransport | None
    ) -> None:
        self._http = httpx.Client(
            base_url=url,
            # as bearer, because that may be an issuer's access token as well
            headers={"Authorization": f"Bearer {key}"},
            timeout=timeout_s,
            transport=transport,
            follow_redirects=False,
        )
        self._retrying = Retrying(
            retry=retry_if_exception_type(_AgainLater),
            stop=stop_after_attempt(attempts),
            wait=_wait,
            retry_error_callback=_give_up,
        )

    def get(self, path: str, parameters: Parameters = (), *, accept: str = "application/json") -> httpx.Response:
        """Return the answer, after as many tries as it takes and are allowed.

        Raises:
            ApiError: the API refused.
            NotReachableError: it does not answer.
        """
        answer: httpx.Response = self._retrying(self._get, path, parameters, accept)
        return answer

    @contextmanager
    def stream(self, path: str, parameters: Parameters) -> Iterator[httpx.Response]:
        """An answer that is read as it comes; there is one try.

        Raises:
            ApiError: the API refused.
            NotReachableError: it does not answer, or the answer breaks off.
        """
        try:
            with self._http.stream("GET", path, params=list(parameters)) as answer:
                if answer.is_error:
                    answer.read()
                    raise _error(answer)
                yield answer
        except httpx.TransportError as error:
            raise _unreachable(self._http, error) from error

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def _get(self, path: str, parameters: Parameters, accept: str) -> httpx.Response:
        try:
            answer = self._http.get(path, params=list(parameters), headers={"Accept": accept})
        except httpx.TransportError as error:
            raise _AgainLater(_unreachable(self._http, error), None) from error
        if answer.is_success:
            return answer
        if answer.status_code in AGAIN_LATER:
            raise _AgainLater(_error(answer), _retry_after(answer))
        raise _error(answer)


def _unreachable(http: httpx.Client, error: httpx.TransportError) -> NotReachableError:
    return NotReachableError(f"{http.base_url} does not answer ({type(error).__name__}: {error})")


def _wait(state: RetryCallState) -> float:
    """What the API asks for (RFC 9110, section 10.2.3), else longer from try to try."""
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, _AgainLater) and error.after_s is not None:
        return min(error.after_s, LONGEST_WAIT_S)
    return wait_random_exponential(multiplier=0.2, max=LONGEST_WAIT_S)(state)


def _give_up(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    if isinstance(error, _AgainLater):
        raise error.cause


def _retry_after(answer: httpx.Response) -> float | None:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None


def _error(answer: httpx.Response) -> ApiError:
    try:
        problem = answer.json()
        detail, errors = str(problem["detail"]), problem.get("errors", ())
    except (ValueError, LookupError, TypeError):
        # not the API but something in front of it
        return ApiError(answer.status_code, answer.reason_phrase, {})
    return ApiError(answer.status_code, detail, {error["parameter"]: error["detail"] for error in errors})
