"""What is no commit of Flink goes through unchanged: the bytes on the wire behind the guard are looked at."""

import asyncio
import gzip
import string
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_catalog import MemoryCatalog, get
from starlette.applications import Starlette

from commit_guard.app import create_app
from commit_guard.proxy import without_uri
from settings import Settings

TOKEN = st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=12)
OF_ONE_CONNECTION = (
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
    "Transfer-Encoding",
)
SET_BY_EACH_SENDER = {b"host", b"content-length", b"connection", b"expect", b"content-encoding"}
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
# every printable character of ASCII, also those that a URL library would encode or resolve
PATHS = st.text("".join(set(map(chr, range(0x21, 0x7F))) - {"?", "#"}), max_size=40).map(
    lambda text: f"/v1/{text}%1F%2F%20/../x".encode()
)
QUERIES = st.text("".join(set(map(chr, range(0x21, 0x7F))) - {"#"}), max_size=40).map(str.encode)
HEADERS = st.lists(
    st.tuples(
        TOKEN.map(lambda name: f"X-{name}".encode()),
        st.text("".join(map(chr, range(0x20, 0x7F)))).map(lambda value: value.strip().encode()),
    ),
    max_size=6,
)


class WireCatalog:
    """A server that keeps the request's bytes and answers with given ones."""

    def __init__(self) -> None:
        self.head = b""
        self.body = b""
        self.answer = b""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            self.head = await reader.readuntil(b"\r\n\r\n")
            lengths = [value for name, value in self.headers if name.lower() == b"content-length"]
            self.body = await reader.readexactly(int(lengths[0])) if lengths else b""
            writer.write(self.answer)
            await writer.drain()

    @property
    def request_line(self) -> bytes:
        return self.head.split(b"\r\n")[0]

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        lines = self.head.strip().split(b"\r\n")[1:]
        return [(name, value.strip()) for name, value in (line.split(b":", 1) for line in lines)]


class Wire:
    """A guard before a server of bytes, in one event loop."""

    def __init__(self, runner: asyncio.Runner, home: Path) -> None:
        self.catalog = WireCatalog()
        self._runner = runner
        self._server = runner.run(self._listen())
        port = self._server.sockets[0].getsockname()[1]
        unused = "not-used-by-these-tests"
        self._app = create_app(
            Settings(
                home=home,
                toolchain=home,
                catalog_uri=f"http://127.0.0.1:{port}/base/",
                s3_access_key=unused,
                s3_secret_key=unused,
                redis_password=unused,
                api_key=unused,
                _env_file=None,
            )
        )

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self.catalog.serve, "127.0.0.1", 0)

    def ask(
        self, method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Hand the guard a request as an ASGI server does."""
        scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path.decode(),
            "raw_path": path,
            "query_string": query,
            "headers": [(name.lower(), value) for name, value in headers],
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        self._runner.run(self._app(scope, receive, send))
        start, *parts = sent
        return start["status"], start["headers"], b"".join(part["body"] for part in parts)


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with asyncio.Runner() as runner:
        yield Wire(runner, tmp_path_factory.mktemp("home"))


def lower(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value) for name, value in headers if name.lower() not in SET_BY_EACH_SENDER]


@given(st.tuples(METHODS, PATHS, QUERIES), HEADERS, st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_requests_go_through_unchanged(
    wire: Wire, line: tuple[str, bytes, bytes], headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    method, path, query = line
    wire.catalog.answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    own = [(b"Authorization", b"Bearer x"), (b"Accept-Encoding", b"zstd"), *headers]
    dropped = [(name.encode(), b"x-named") for name in OF_ONE_CONNECTION]
    with_length = [(b"Content-Length", str(len(body)).encode())] if body else []
    connection = [(b"Host", b"the-guard"), (b"x-named", b"of this connection"), *dropped, *with_length]
    assert wire.ask(method, path, query, [*own, *connection], body)[0] == 204

    target = b"/base" + path + (b"?" + query if query else b"")
    assert wire.catalog.request_line == b"%b %b HTTP/1.1" % (method.encode(), target)
    assert wire.catalog.body == body
    expected = [field for field in lower(own) if field[0] != b"x-named"]
    assert lower(wire.catalog.headers) == expected
    (host,) = (value for name, value in wire.catalog.headers if name.lower() == b"host")
    assert host.startswith(b"127.0.0.1:")


@given(st.integers(200, 599), HEADERS, st.binary(max_size=3000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_answers_come_back_unchanged(
    wire: Wire, status: int, headers: list[tuple[bytes, bytes]], body: bytes, chunked: bool
) -> None:
    if status in {204, 304}:
        body = b""
    # said to be compressed, which it is not: who decodes it on the way fails
    fields = [(b"Set-Cookie", b"a=1"), (b"Set-Cookie", b"b=2"), (b"Content-Encoding", b"gzip"), *headers]
    if chunked and body:
        framing, payload = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        framing, payload = b"Content-Length: %d" % len(body), body
    lines = [b"%b: %b" % field for field in fields]
    head = [b"HTTP/1.1 %d Whatever" % status, *lines, framing, b"Connection: close, X-Named", b"X-Named: no"]
    wire.catalog.answer = b"\r\n".join([*head, b"", payload])

    got_status, got_headers, got_body = wire.ask("GET", b"/v1/namespaces", b"", [], b"")
    assert (got_status, got_body) == (status, body)
    assert (b"content-encoding", b"gzip") in [(name.lower(), value) for name, value in got_headers]
    assert lower(got_headers) == [field for field in lower(fields) if field[0] != b"x-named"]


def test_what_the_guard_reads_itself_it_hands_on_decoded(wire: Wire) -> None:
    body = gzip.compress(b'{"defaults": {"uri": "http://around"}, "overrides": {}}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
        body
    )
    wire.catalog.answer = head + body
    _, headers, content = wire.ask("GET", b"/v1/config", b"", [], b"")
    assert orjson.loads(content) == {"defaults": {}, "overrides": {}}
    assert dict(headers) == {b"content-length": str(len(content)).encode()}


def test_an_answer_that_breaks_off_is_not_made_whole(wire: Wire) -> None:
    wire.catalog.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    with pytest.raises(httpx.RemoteProtocolError):
        wire.ask("GET", b"/v1/namespaces", b"", [], b"")


@given(
    st.dictionaries(st.sampled_from(["uri", "prefix", "uri.x"]), st.text()),
    st.dictionaries(st.sampled_from(["uri", "warehouse"]), st.text()),
    st.sampled_from([{}, {"endpoints": ["GET /v1/config"]}]),
)
def test_a_configuration_keeps_all_but_the_way_around_the_guard(
    defaults: dict[str, str], overrides: dict[str, str], rest: dict[str, Any]
) -> None:
    config = {"defaults": defaults, "overrides": overrides, **rest}
    kept = orjson.loads(without_uri(orjson.dumps(config)))
    for part in (defaults, overrides):
        part.pop("uri", None)
    assert kept == {"defaults": defaults, "overrides": overrides, **rest}


@pytest.mark.parametrize("body", [b"", b"<html>", b"[1]", b'{"defaults": 3}', b'{ "defaults": null }', b"{}  "])
def test_a_configuration_that_is_none_goes_through(body: bytes) -> None:
    assert without_uri(body) == body


def test_a_configuration_through_the_guard(guard: Starlette, catalog: MemoryCatalog) -> None:
    catalog.config = {"defaults": {"uri": "http://around"}, "overrides": {"uri": "http://around", "prefix": "p"}}
    answer = asyncio.run(get(guard, "/v1/config?warehouse=w"))
    assert answer.json() == {"defaults": {}, "overrides": {"prefix": "p"}}
    assert catalog.requests[-1].url.query == b"warehouse=w"


@pytest.mark.parametrize("path", ["/", "/v1", "/-/other", "/-/live/", "/v1/-/metrics"])
def test_only_the_guards_own_three_paths_are_its_own(guard: Starlette, catalog: MemoryCatalog, path: str) -> None:
    asyncio.run(get(guard, path))
    assert [request.url.path for request in catalog.requests] == [path]
