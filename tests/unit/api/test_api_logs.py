"""Lines of the log reach stderr together, in order, and none is lost."""

import asyncio
import io
import json
import logging
import threading

import pytest

from api.logs import GatheredLines, JsonLines


class Stream(io.StringIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[str]] = []

    def write(self, text: str) -> int:
        self.writes.append([json.loads(line)["message"] for line in text.splitlines()])
        return len(text)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    stream = Stream()
    monkeypatch.setattr("sys.stderr", stream)
    return stream


@pytest.fixture
def logger(stream: Stream) -> logging.Logger:
    logger = logging.Logger("of-this-test")
    handler = GatheredLines()
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    return logger


def test_what_one_turn_of_the_loop_logs_is_written_at_once(logger: logging.Logger, stream: Stream) -> None:
    async def scenario() -> None:
        for turn in range(3):
            for number in range(4):
                logger.info("%d.%d", turn, number)
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert stream.writes == [[f"{turn}.{number}" for number in range(4)] for turn in range(3)]


def test_what_a_thread_logs_is_written_immediately_and_in_order(logger: logging.Logger, stream: Stream) -> None:
    async def scenario() -> None:
        logger.info("loop")
        thread = threading.Thread(target=logger.info, args=("thread",))
        thread.start()
        # the loop has no turn meanwhile
        thread.join()
        assert stream.writes == [["loop", "thread"]]

    asyncio.run(scenario())
    assert stream.writes == [["loop", "thread"]]


def test_what_is_logged_last_is_written(logger: logging.Logger, stream: Stream) -> None:
    async def scenario() -> None:
        logger.info("last")

    asyncio.run(scenario())
    assert stream.writes == [["last"]]


def test_what_a_loop_left_is_written_with_what_the_next_one_logs(logger: logging.Logger, stream: Stream) -> None:
    stopped = asyncio.new_event_loop()
    stopped.call_soon(logger.info, "left")
    stopped.call_soon(stopped.stop)
    stopped.run_forever()
    stopped.close()
    assert stream.writes == []

    async def scenario() -> None:
        logger.info("next")

    asyncio.run(scenario())
    assert stream.writes == [["left", "next"]]


def test_a_line_that_cannot_be_written_fails_nobody(
    logger: logging.Logger, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.info("no number: %d", "x")
    logger.info("the next")
    assert stream.writes == [["the next"]]
