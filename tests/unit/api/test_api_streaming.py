"""What becomes of a streamed answer when the client, the store or the server fails."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from starlette.types import Message

from api.catalog import CatalogReader, CatalogUnavailableError, TooManyStreamsError
from api.problems import ProblemError
from api.rows import streaming
from api.rows.streaming import SENT_BYTES, StreamedAnswer
from settings import Settings
from stack.local.local_env import FREE_PORT_RANGE, is_free
from tests.unit.api.broken_stream import WHOLE

SCOPE = {"type": "http", "asgi": {"spec_version": "2.3"}}


class Pieces:
    """Pieces of an answer, how many of them were read, and whether the source was closed."""

    def __init__(self, pieces: int, *, fails_at: int | None = None, size: int = 10) -> None:
        self._pieces, self._fails_at, self._size = pieces, fails_at, size
        self.read = 0
        self.closed = False

    def __call__(self) -> Generator[bytes, None, None]:
        try:
            for number in range(self._pieces):
                if number == self._fails_at:
                    raise OSError("the store is gone")
                self.read += 1
                yield b"%d" % (number % 10) * self._size
        finally:
            self.closed = True


class Client:
    """The other side of one request: keeps what it is sent, goes away or stops reading after some parts."""

    def __init__(self, *, leaves_after: int | None = None, stalls_after: int | None = None) -> None:
        self.messages: list[Message] = []
        self._leaves_after, self._stalls_after = leaves_after, stalls_after
        self._left = asyncio.Event()

    @property
    def parts(self) -> list[bytes]:
        return [each["body"] for each in self.messages if each.get("body")]

    @property
    def ended(self) -> bool:
        return any(each.get("more_body") is False for each in self.messages)

    async def send(self, message: Message) -> None:
        self.messages.append(message)
        if len(self.parts) == self._leaves_after:
            self._left.set()
        if len(self.parts) == self._stalls_after:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}


@pytest.fixture
def reader(settings: Settings, catalog: SqlCatalog) -> CatalogReader:
    return CatalogReader(settings.model_copy(update={"api_max_streams": 1}), lambda _: catalog, [])


def send(reader: CatalogReader, pieces: Pieces, **client: Any) -> tuple[Client, ProblemError | None]:
    async def run() -> tuple[Client, ProblemError | None]:
        receiving = Client(**client)
        fields = [(b"lakehouse-snapshot-id", b"1")]
        answer = StreamedAnswer(reader, pieces(), media_type="text/plain", fields=fields)
        try:
            async with asyncio.timeout(20):
                await answer(SCOPE, receiving.receive, receiving.send)
        except ProblemError as error:
            return receiving, error
        return receiving, None

    return asyncio.run(run())


def test_all_pieces_are_sent_in_order(reader: CatalogReader) -> None:
    pieces = Pieces(25)
    client, error = send(reader, pieces)
    assert error is None
    assert client.ended
    assert b"".join(client.parts) == b"".join(b"%d" % (number % 10) * 10 for number in range(25))
    assert dict(client.messages[0]["headers"])[b"lakehouse-snapshot-id"] == b"1"


def test_a_large_piece_is_sent_in_parts(reader: CatalogReader) -> None:
    client, _ = send(reader, Pieces(2, size=SENT_BYTES + 1))
    assert [len(part) for part in client.parts] == [SENT_BYTES, 1] * 2


def test_nothing_more_is_read_for_a_client_that_is_gone(reader: CatalogReader) -> None:
    pieces = Pieces(10_000)
    client, error = send(reader, pieces, leaves_after=3)
    assert error is None
    assert pieces.read < 10
    assert pieces.closed
    assert not client.ended


def test_a_client_that_stops_reading_is_broken_off(reader: CatalogReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "STALLED_S", 0.05)
    pieces = Pieces(10_000)
    client, error = send(reader, pieces, stalls_after=3)
    assert error is None
    assert len(client.parts) == 3
    assert pieces.closed
    assert not client.ended


def test_an_error_in_the_middle_never_ends_the_answer(reader: CatalogReader) -> None:
    pieces = Pieces(10, fails_at=4)
    client, error = send(reader, pieces)
    assert isinstance(error, CatalogUnavailableError)
    assert len(client.parts) == 4
    assert not client.ended


def test_an_error_in_the_first_piece_comes_before_any_header(reader: CatalogReader) -> None:
    client, error = send(reader, Pieces(10, fails_at=0))
    assert isinstance(error, CatalogUnavailableError)
    assert client.messages == []


def test_places_are_few_and_given_back(reader: CatalogReader) -> None:
    with reader.streaming():
        pieces = Pieces(3)
        client, error = send(reader, pieces)
        assert isinstance(error, TooManyStreamsError)
        assert error.headers is not None
        assert int(error.headers["Retry-After"]) > 0
        assert (client.messages, pieces.read) == ([], 0)
    send(reader, Pieces(10, fails_at=2))
    send(reader, Pieces(10_000), leaves_after=1)
    assert send(reader, Pieces(3))[1] is None


def test_a_client_of_the_server_sees_that_an_answer_is_not_whole(tmp_path: Path) -> None:
    port = next(port for port in range(*FREE_PORT_RANGE) if is_free(port))
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), "--factory"]
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([*command, "tests.unit.api.broken_stream:application"], stdout=log, stderr=log) as server,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + 30
            while True:
                try:
                    assert httpx.get(f"{url}/whole").content == WHOLE
                    break
                except httpx.ConnectError:
                    assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                    time.sleep(0.05)
            received = bytearray()
            with pytest.raises(httpx.RemoteProtocolError), httpx.stream("GET", f"{url}/broken") as answer:
                assert answer.status_code == 200
                for part in answer.iter_bytes():
                    received += part
            assert WHOLE.startswith(received)
            assert len(received) < len(WHOLE)
        finally:
            server.terminate()
