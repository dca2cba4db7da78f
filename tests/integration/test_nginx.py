"""The real nginx in front of the API: processes that die, streams, limits, TLS, and what it tells and logs."""

import asyncio
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import orjson
import pytest
from nginx_server import (
    AMPLE,
    HOST,
    Nginx,
    command,
    free_ports,
    listens,
    make_certificate,
    render,
    running_nginx,
    write_configuration,
)
from process_tree import kill_tree
from waiting import until
from websockets.asyncio.client import connect

from resources.hot_view import Subject, changes_key, entry, zone_bytes
from resources.hot_view import connect as connect_redis
from settings import Settings
from settings.model import ROOT
from stack.local.services import api

KEY_IN_QUERY = "some-key-that-is-in-no-log"
PATIENCE_S = 60
TEXT = {"Accept-Encoding": "gzip"}


def _speaks_http2(curl: str | None) -> bool:
    return curl is not None and b" HTTP2" in subprocess.run([curl, "-V"], capture_output=True, check=True).stdout


CURL = shutil.which("curl")
needs_curl = pytest.mark.skipif(not _speaks_http2(CURL), reason="no curl with HTTP/2 on this machine")


def curl(nginx: Nginx, *arguments: str | Path) -> list[str | Path]:
    assert CURL is not None
    patience = ("--max-time", str(PATIENCE_S))
    return [CURL, "--silent", "--http2", "--cacert", nginx.certificate, *patience, *arguments]


@pytest.fixture(scope="module")
def echo_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """An application that answers with what it was asked, on the server that runs the API."""
    (port,) = free_ports(1)
    server = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", "--port", str(port)]
    with (tmp_path_factory.mktemp("echo") / "log").open("wb") as log:
        process = subprocess.Popen(
            [*server, "tests.integration.echoing_api:application"], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        until(lambda: listens(port), "the application listens")
        yield port
    finally:
        kill_tree(process)


@pytest.fixture(scope="module")
def echoing(echo_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx in front of it."""
    with running_nginx(tmp_path_factory.mktemp("echoing"), [echo_port]) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def client(echoing: Nginx) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=echoing.url, verify=echoing.trust, timeout=PATIENCE_S) as client:
        yield client


def is_problem(answer: httpx.Response, status: int) -> bool:
    document = answer.json()
    return (
        answer.headers["Content-Type"] == "application/problem+json"
        and (answer.status_code, document["status"]) == (status, status)
        and bool(document["title"] and document["detail"])
        and document["request_id"] == answer.headers["X-Request-ID"]
        and "Strict-Transport-Security" in answer.headers
    )


def test_nginx_takes_the_configuration_without_a_warning(tmp_path: Path) -> None:
    write_configuration(tmp_path, free_ports(2), {})
    rendered = (tmp_path / "nginx.conf").read_text()
    assert "${" not in rendered
    assert rendered.count("max_fails=") == 2
    checked = subprocess.run(command(tmp_path, "-t"), capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "[warn]" not in checked.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NGINX_API_SERVERS", ""),
        ("NGINX_API_SERVERS", "127.0.0.1:1; include /etc/passwd"),
        ("NGINX_API_SERVERS", "127.0.0.1:1\n127.0.0.1:2"),
        ("NGINX_CERTIFICATE", "relative.pem"),
        ("NGINX_CERTIFICATE_KEY", "/a;b"),
        ("NGINX_LISTEN", "*"),
        ("NGINX_HTTPS_PORT", "443 "),
        ("NGINX_REQUESTS_PER_SECOND", "10r/s"),
    ],
)
def test_a_value_that_is_none_is_refused(tmp_path: Path, name: str, value: str) -> None:
    right = {"NGINX_API_SERVERS": "api-1:8000 [::1]:8000", **make_certificate(tmp_path)}
    assert render(right).returncode == 0
    refused = render({**right, name: value})
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert name in refused.stderr


def test_plain_http_is_sent_to_tls(echoing: Nginx) -> None:
    for address in (echoing.plain_url, f"http://{HOST}:{echoing.port}"):
        answer = httpx.get(f"{address}/echo?a=1&b=2")
        assert answer.status_code == 308
        assert answer.headers["Location"] == f"{echoing.url}/echo?a=1&b=2"


def handshake(nginx: Nginx, version: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> str | None:
    context = nginx.trust
    context.set_ciphers(ciphers)
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection((HOST, nginx.port), PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname=HOST) as encrypted,
    ):
        return encrypted.version()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_tls_is_new_enough(echoing: Nginx) -> None:
    assert handshake(echoing, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
    assert handshake(echoing, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        handshake(echoing, ssl.TLSVersion.TLSv1_1)
    for without_forward_secrecy_or_authentication in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"):
        with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
            handshake(echoing, ssl.TLSVersion.TLSv1_2, without_forward_secrecy_or_authentication)


@needs_curl
def test_http_1_and_2_are_spoken(echoing: Nginx) -> None:
    for version in ("1.1", "2"):
        chosen = curl(echoing, f"--http{version}", "-w", "%{stderr}%{http_version}", f"{echoing.url}/echo")
        answered = subprocess.run(chosen, capture_output=True, text=True, check=True)
        assert answered.stderr == version
        assert orjson.loads(answered.stdout)["path"] == "/echo"


def test_the_api_hears_from_nginx_who_asks(echoing: Nginx, client: httpx.Client) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "X-Forwarded-Prefix": "/evil",
        "X-Forwarded-Proto": "gopher",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        # HTTP/2 without TLS to the API would be a tunnel past nginx
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA",
    }
    seen = client.get("/echo?a=1", headers=forged).json()
    assert (seen["path"], seen["query"]) == ("/echo", "a=1")
    headers = dict(seen["headers"])
    assert len(headers) == len(seen["headers"])
    assert {name: value for name, value in headers.items() if name.startswith(("x-forwarded", "x-real"))} == {
        "x-forwarded-for": HOST,
        "x-forwarded-host": f"{HOST}:{echoing.port}",
        "x-forwarded-port": str(echoing.port),
        "x-forwarded-proto": "https",
        "x-real-ip": HOST,
    }
    assert headers["host"] == f"{HOST}:{echoing.port}"
    assert {"forwarded", "upgrade", "connection"}.isdisjoint(headers)


def test_no_header_of_an_answer_comes_twice_and_redirects_stay_with_tls(
    echoing: Nginx, client: httpx.Client
) -> None:
    answer = client.get("/echo")
    assert set(Counter(name.lower() for name, _ in answer.headers.multi_items()).values()) == {1}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert "/" not in answer.headers["Server"]
    assert client.get("/elsewhere").headers["Location"] == f"{echoing.url}/echo"


@pytest.mark.parametrize("sent", ["job-7.step:3", "a b", '"}', "x" * 129, None])
def test_a_request_has_one_id_all_the_way(echoing: Nginx, client: httpx.Client, sent: str | None) -> None:
    before = len(echoing.requests())
    seen = client.get("/echo", headers={} if sent is None else {"X-Request-ID": sent}).json()
    passed = dict(seen["headers"])["x-request-id"]
    assert (passed == sent) == (sent == "job-7.step:3")
    assert len(passed) >= 12
    until(lambda: len(echoing.requests()) > before, "the request is logged")
    assert echoing.requests()[-1]["request_id"] == passed


def test_a_websocket_passes(echoing: Nginx) -> None:
    async def talk() -> None:
        async with connect(f"wss://{HOST}:{echoing.port}/live?zone=a", ssl=echoing.trust) as live:
            seen = orjson.loads(await live.recv())
            headers = dict(seen["headers"])
            assert (seen["path"], seen["query"]) == ("/live", "zone=a")
            assert (headers["upgrade"], headers["connection"]) == ("websocket", "upgrade")
            for text in ("one", "two"):
                await live.send(text)
                assert await live.recv() == text

    asyncio.run(talk())


@needs_curl
def test_an_answer_that_breaks_is_not_taken_for_whole(echoing: Nginx, client: httpx.Client) -> None:
    whole = client.get("/whole").content
    received = bytearray()
    with pytest.raises(httpx.RemoteProtocolError), client.stream("GET", "/broken") as answer:
        for part in answer.iter_bytes():
            received += part
    assert 0 < len(received) < len(whole)
    for path, arrives in (("/whole", True), ("/broken", False)):
        answered = subprocess.run(curl(echoing, f"{echoing.url}{path}"), capture_output=True, check=False)
        assert whole.startswith(answered.stdout)
        assert ((answered.returncode, answered.stdout) == (0, whole)) == arrives
        assert (answered.returncode == 0) == arrives


def test_what_is_too_large_is_refused_with_a_reason(client: httpx.Client) -> None:
    assert client.post("/echo", content=b"x" * 60_000).status_code == 200
    assert is_problem(client.post("/echo", content=b"x" * 70_000), 413)
    assert client.get("/echo", headers={"X-Filter": "x" * 15_000}).status_code == 200
    assert is_problem(client.get("/echo", headers={"X-Filter": "x" * 20_000}), 431)
    assert client.get(f"/echo?{'x' * 15_000}").status_code == 200
    assert is_problem(client.get(f"/echo?{'x' * 20_000}"), 414)
    assert is_problem(client.request("TRACE", "/echo"), 405)


@needs_curl
def test_over_http_2_too(echoing: Nginx) -> None:
    body = ["--data", "x" * 70_000, "-w", "%{stderr}%{http_code} %{http_version}"]
    answered = subprocess.run(curl(echoing, *body, f"{echoing.url}/echo"), capture_output=True, check=True)
    assert answered.stderr == b"413 2"
    assert orjson.loads(answered.stdout)["status"] == 413
    # nginx ends the connection: where the next header begins could only be told from this one
    large = curl(echoing, "-H", f"X-Filter: {'x' * 20_000}", f"{echoing.url}/echo")
    assert subprocess.run(large, capture_output=True, check=False).returncode != 0


def test_requests_beyond_the_rate_of_an_address_wait_outside(echo_port: int, tmp_path: Path) -> None:
    limits = {**AMPLE, "NGINX_REQUESTS_PER_SECOND": "1", "NGINX_BURST": "5"}
    with (
        running_nginx(tmp_path, [echo_port], limits) as nginx,
        httpx.Client(base_url=nginx.url, verify=nginx.trust, timeout=PATIENCE_S) as client,
    ):
        answers = [client.get("/echo") for _ in range(6)]
        assert {answer.status_code for answer in answers} == {200}
        while (answer := client.get("/echo")).status_code == 200:
            answers.append(answer)
            assert len(answers) < 1000
        assert is_problem(answer, 429)
        assert int(answer.headers["Retry-After"]) >= 1
        assert "1 requests a second" in answer.json()["detail"]


def test_an_address_has_so_many_requests_under_way(echo_port: int, tmp_path: Path) -> None:
    with (
        running_nginx(tmp_path, [echo_port], {**AMPLE, "NGINX_CONNECTIONS": "2"}) as nginx,
        httpx.Client(base_url=nginx.url, verify=nginx.trust, timeout=PATIENCE_S) as client,
    ):
        live = f"wss://{HOST}:{nginx.port}/live"

        async def with_two_connections() -> None:
            async with connect(live, ssl=nginx.trust):
                async with connect(live, ssl=nginx.trust):
                    assert is_problem(client.get("/echo"), 429)
                until(lambda: client.get("/echo").status_code == 200, "there is a place again")

        asyncio.run(with_two_connections())


def test_without_a_process_of_the_api_nginx_says_so(tmp_path: Path) -> None:
    with running_nginx(tmp_path, free_ports(2)) as nginx:
        answer = httpx.get(f"{nginx.url}/v1/tables?key={KEY_IN_QUERY}", verify=nginx.trust, timeout=PATIENCE_S)
        assert is_problem(answer, 502)
        assert int(answer.headers["Retry-After"]) > 0
        until(lambda: len(nginx.requests()) == 1, "the request is logged")
        (logged,) = nginx.requests()
        assert (logged["method"], logged["path"], logged["status"]) == ("GET", "/v1/tables", 502)
        assert logged["upstream_status"].count("502") == 2
        assert KEY_IN_QUERY not in nginx.logged()


class _HangsUp(socketserver.StreamRequestHandler):
    """Reads a request and ends the connection."""

    methods: list[bytes]

    def handle(self) -> None:
        head = [line for line in iter(self.rfile.readline, b"\r\n") if line]
        self.methods.append(head[0].split()[0])


def test_only_what_may_be_repeated_is_tried_at_another_process(tmp_path: Path) -> None:
    class Handler(_HangsUp):
        methods: list[bytes] = []  # noqa: RUF012  of this test

    with ExitStack() as stack:
        servers = [stack.enter_context(socketserver.ThreadingTCPServer((HOST, 0), Handler)) for _ in range(2)]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        nginx = stack.enter_context(running_nginx(tmp_path, [server.server_address[1] for server in servers]))
        with httpx.Client(base_url=nginx.url, verify=nginx.trust, timeout=PATIENCE_S) as client:
            assert is_problem(client.post("/v1/tables"), 502)
            assert Handler.methods == [b"POST"]
            assert is_problem(client.get("/v1/tables"), 502)
            assert Handler.methods == [b"POST", b"GET", b"GET"]


# --- with the API of a running stack


class ApiProcess:
    """A process of the API beside the stack's own, as the stack runs it."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.port, metrics_port = free_ports(2)
        self.metrics_url = f"http://{HOST}:{metrics_port}/metrics"
        self._service = api.service(settings.model_copy(update={"api_port": self.port}))
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LAKEHOUSE_API_METRICS_PORT": str(metrics_port),
        }
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As it is in nginx' log."""
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it can answer."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._service.command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        until(self._service.is_ready, f"the API answers: {self._log}")

    def kill(self) -> None:
        """Kill it (SIGKILL) with its worker, if it runs."""
        if self._process is not None:
            kill_tree(self._process)
            self._process = None


@pytest.fixture(scope="module")
def processes(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ApiProcess]]:
    folder = tmp_path_factory.mktemp("api")
    started = [ApiProcess(settings, folder / f"{number}.log") for number in range(2)]
    try:
        for process in started:
            process.start()
        yield started
    finally:
        for process in started:
            process.kill()


@pytest.fixture(scope="module")
def front(processes: Sequence[ApiProcess], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """nginx in front of two processes of the API."""
    with running_nginx(tmp_path_factory.mktemp("front"), [process.port for process in processes]) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def reader(settings: Settings, front: Nginx) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": settings.api_key.get_secret_value()}
    with httpx.Client(base_url=front.url, verify=front.trust, headers=headers, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def key_file(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The header with the key, for a command line that others can read."""
    path = tmp_path_factory.mktemp("key") / "header"
    path.write_text(f"X-API-Key: {settings.api_key.get_secret_value()}\n")
    return path


def test_text_is_compressed_and_known_again(reader: httpx.Client, processes: Sequence[ApiProcess]) -> None:
    described = reader.get("/openapi.json", headers=TEXT)
    assert described.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in described.headers["Vary"]
    assert described.content == httpx.get(f"http://{processes[0].address}/openapi.json").content
    assert int(described.num_bytes_downloaded) < len(described.content) / 4
    assert "Content-Encoding" not in reader.get("/openapi.json", headers={"Accept-Encoding": "br"}).headers

    path = "/v1/tables/bronze.traffic_events/rows?limit=100"
    rows = reader.get(path, headers=TEXT).raise_for_status()
    again = reader.get(path, headers={**TEXT, "If-None-Match": rows.headers["ETag"]})
    if rows.headers["Lakehouse-Snapshot-Id"] == again.headers["Lakehouse-Snapshot-Id"]:
        assert again.status_code == 304
    arrow = reader.get(f"{path}&format=arrow", headers=TEXT).raise_for_status()
    assert "Content-Encoding" not in arrow.headers


@contextmanager
def lines_by_httpx(reader: httpx.Client, path: str) -> Iterator[Iterator[str]]:
    with reader.stream("GET", path, headers=TEXT) as answer:
        assert "Content-Encoding" not in answer.headers
        yield answer.iter_lines()


@contextmanager
def lines_by_curl(front: Nginx, key_file: Path, path: str) -> Iterator[Iterator[str]]:
    command = curl(front, "--no-buffer", "--compressed", "-H", f"@{key_file}", f"{front.url}{path}")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield (line.rstrip("\n") for line in process.stdout)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@needs_curl
def test_each_event_comes_before_the_next_one_is_there(
    settings: Settings, front: Nginx, reader: httpx.Client, key_file: Path
) -> None:
    sensor = "traffic-of-nginx"
    path = f"/v1/traffic/stream?sensor_id={sensor}"

    with (
        connect_redis(settings) as redis,
        lines_by_httpx(reader, path) as over_1,
        lines_by_curl(front, key_file, path) as over_2,
    ):
        for lines in (over_1, over_2):
            assert next(lines).startswith("retry: ")
        for number in range(5):
            document = orjson.dumps({"sensor_id": sensor, "number": number})
            changed = entry(number + 1, zone_bytes("harbour"), document)
            redis.xadd(changes_key("traffic"), {Subject.SENSOR.value: changed})
            for lines in (over_1, over_2):
                data = next(line for line in lines if line.startswith("data: "))
                assert orjson.loads(data.removeprefix("data: "))["number"] == number


def test_metrics_and_what_is_no_route_stay_inside(reader: httpx.Client, processes: Sequence[ApiProcess]) -> None:
    metric = "lakehouse_api_requests_total"
    assert metric in httpx.get(processes[0].metrics_url).text
    for path in ("/metrics", "/problem", "/nginx_status", "/.env"):
        answer = reader.get(path)
        assert answer.status_code == 404, path
        assert metric not in answer.text
    assert is_problem(reader.get("/..%2fmetrics"), 400)


class Load:
    """Requests by a client that speaks HTTP/2, sixteen at once, until it is told to stop."""

    def __init__(self, nginx: Nginx, key_file: Path) -> None:
        paths = ("/v1/traffic/latest?limit=5", "/v1/tables/silver.traffic_1m/rows?limit=5")
        # what is behind # is not sent: it numbers the requests
        self._command = curl(
            nginx,
            *("-H", f"@{key_file}", "-Z", "--parallel-max", "16"),
            *("-w", "%{http_code} %{http_version} %{errormsg}\n"),
            *(argument for path in paths for argument in ("-o", os.devnull, f"{nginx.url}{path}#[1-200]")),
        )
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: Counter[str] = Counter()

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            ended = subprocess.run(self._command, capture_output=True, text=True, check=False)
            self.answers.update(line.strip() for line in ended.stdout.splitlines())


@needs_curl
def test_no_request_fails_when_a_process_of_the_api_is_killed(
    settings: Settings, front: Nginx, processes: Sequence[ApiProcess], key_file: Path
) -> None:
    begun = len(front.requests())
    killed, other = processes

    def answered_by(address: str, since: int) -> int:
        return sum(request["upstream"] == address for request in front.requests()[since:])

    with Load(front, key_file) as load:
        for process in processes:
            until(lambda process=process: answered_by(process.address, begun) >= 100, "both are used")
        killed.kill()
        dead_since = len(front.requests())
        until(lambda: answered_by(other.address, dead_since) >= 500, "the other goes on")
    assert set(load.answers) == {"200 2"}
    # a line is written when the client has its answer already
    until(lambda: load.answers.total() <= len(front.requests()) - begun, "all is in the log")
    requests = front.requests()
    retried = [request for request in requests[begun:] if "," in request["upstream"]]
    assert retried
    assert {request["upstream"] for request in retried} == {f"{killed.address}, {other.address}"}
    assert {request["upstream_status"] for request in retried} == {"502, 200"}
    assert settings.api_key.get_secret_value() not in front.logged()

    killed.start()
    restarted = len(front.requests())
    with Load(front, key_file) as load:
        until(lambda: answered_by(killed.address, restarted) >= 100, "the one that is back is used")
    assert set(load.answers) == {"200 2"}
