"""The proxies before a real HTTP server: what passes, and what each fault does to a commit."""

import asyncio
import http.client
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import orjson
import pytest

from stack.chaos.proxy.catalog import CatalogProxy
from stack.chaos.proxy.commits import FlinkCommit, flink_commit
from stack.chaos.proxy.faults import (
    DelayAnswer,
    DropAnswer,
    Fault,
    HoldUntilReleased,
    HoldUntilRepeated,
    ServiceUnavailable,
)
from stack.chaos.proxy.http import Answer, Message
from stack.chaos.proxy.loop import ProxyLoop
from stack.chaos.proxy.relay import Mode, Relay

TABLE = "bronze.traffic_events"
PATH = "/v1/main/namespaces/bronze/tables/traffic_events"
TIMEOUT_S = 20


@dataclass
class Catalog:
    """A server that remembers what it got, in order."""

    url: str = ""
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    known = Catalog()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            known.requests.append((self.command, self.path, dict(self.headers), body))
            self.send_response(201)
            self.send_header("X-Own", "yes")
            self.send_header("Content-Length", "4")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"done")

        do_GET = do_POST = do_HEAD = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    known.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield known
    server.shutdown()
    server.server_close()


@pytest.fixture
def loop() -> Iterator[ProxyLoop]:
    started = ProxyLoop()
    started.start()
    yield started
    started.close()


@pytest.fixture(scope="session")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=TIMEOUT_S, trust_env=False) as opened:
        yield opened


@dataclass
class Front:
    proxy: CatalogProxy
    url: str
    client: httpx.Client

    def commit(self, checkpoint: int, path: str = PATH) -> httpx.Response:
        return self.client.post(f"{self.url}{path}", content=body(checkpoint))


@pytest.fixture
def front(catalog: Catalog, loop: ProxyLoop, client: httpx.Client) -> Iterator[Front]:
    proxy = CatalogProxy(catalog.url)
    yield Front(proxy, f"http://127.0.0.1:{loop.listen(proxy.serve)}", client)
    loop.run(proxy.aclose())


def body(checkpoint: int) -> bytes:
    summary = {
        "operation": "append",
        "flink.job-id": "job",
        "flink.operator-id": "operator",
        "flink.max-committed-checkpoint-id": str(checkpoint),
    }
    return orjson.dumps({
        "requirements": [],
        "updates": [
            {"action": "add-snapshot", "snapshot": {"snapshot-id": checkpoint, "summary": summary}},
            {"action": "set-snapshot-ref", "ref-name": "main", "snapshot-id": checkpoint},
        ],
    })  # fmt: skip


def checkpoints(catalog: Catalog) -> list[int]:
    """Checkpoints in the order in which the catalog got them."""
    return [
        int(orjson.loads(content)["updates"][0]["snapshot"]["summary"]["flink.max-committed-checkpoint-id"])
        for _, _, _, content in catalog.requests
    ]


def test_requests_and_answers_pass_as_they_are(front: Front, catalog: Catalog) -> None:
    for target in ("/v1/config?warehouse=s3%3A%2F%2Fw", "/v1/namespaces/a%1Fb"):
        answer = front.client.get(f"{front.url}{target}", headers={"Authorization": "Bearer x"})
        assert (answer.status_code, answer.content, answer.headers["X-Own"]) == (201, b"done", "yes")
    assert front.client.post(f"{front.url}/v1/oauth/tokens", content=b"grant").content == b"done"
    assert front.client.head(f"{front.url}/v1/namespaces/a").status_code == 201
    assert [(method, path, content) for method, path, _, content in catalog.requests] == [
        ("GET", "/v1/config?warehouse=s3%3A%2F%2Fw", b""),
        ("GET", "/v1/namespaces/a%1Fb", b""),
        ("POST", "/v1/oauth/tokens", b"grant"),
        ("HEAD", "/v1/namespaces/a", b""),
    ]
    assert catalog.requests[0][2]["Authorization"] == "Bearer x"
    assert front.proxy.landed(TABLE) == 0


def test_commits_are_counted_by_table(front: Front) -> None:
    assert front.commit(1).status_code == 201
    assert front.commit(2).status_code == 201
    assert front.commit(2, "/v1/main/namespaces/silver/tables/traffic_1m").status_code == 201
    assert front.proxy.landed(TABLE) == 2
    assert front.proxy.landed("silver.traffic_1m") == 1


def test_what_is_a_commit_of_flink() -> None:
    commit = Message(b"POST", PATH.encode(), [], body(7))
    assert flink_commit(commit) == FlinkCommit(TABLE, "job", "operator", 7)
    other = body(7).replace(b"flink.", b"other.")
    for method, path, content in (
        (b"GET", PATH.encode(), b""),
        (b"POST", PATH.encode(), other),
        (b"POST", b"/v1/main/transactions/commit", body(7)),
    ):
        assert flink_commit(Message(method, path, [], content)) is None


def test_a_dropped_answer_is_of_a_commit_that_took_place_and_strikes_once(front: Front, catalog: Catalog) -> None:
    fault = DropAnswer(TABLE)
    front.proxy.arm(fault)
    with pytest.raises(httpx.TransportError):
        front.commit(1)
    assert fault.struck.is_set()
    assert checkpoints(catalog) == [1]
    assert front.commit(2).status_code == 201
    assert front.proxy.landed(TABLE) == 2


@pytest.mark.parametrize("retry_after_s", [None, 3])
def test_a_503_is_of_a_commit_that_took_place(front: Front, catalog: Catalog, retry_after_s: int | None) -> None:
    front.proxy.arm(ServiceUnavailable(TABLE, retry_after_s=retry_after_s))
    answer = front.commit(1)
    assert answer.status_code == 503
    assert answer.headers.get("Retry-After") == (None if retry_after_s is None else "3")
    assert answer.json()["error"]["code"] == 503
    assert checkpoints(catalog) == [1]


def test_a_fault_of_one_table_leaves_others_alone(front: Front) -> None:
    front.proxy.arm(DropAnswer("silver.traffic_1m"))
    assert front.commit(1).status_code == 201


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], httpx.Response]], "Future[httpx.Response]"]]:
    with ThreadPoolExecutor(4) as pool:
        yield pool.submit


def test_a_delayed_answer_is_of_a_commit_that_took_place(
    front: Front, catalog: Catalog, in_background: Callable[..., "Future[httpx.Response]"]
) -> None:
    fault = DelayAnswer(TABLE, 0.3)
    front.proxy.arm(fault)
    delayed = in_background(front.commit, 1)
    assert delayed.result(TIMEOUT_S).status_code == 201
    assert fault.struck.is_set()
    assert checkpoints(catalog) == [1]


def test_a_held_commit_lands_when_it_is_released(
    front: Front, catalog: Catalog, in_background: Callable[..., "Future[httpx.Response]"]
) -> None:
    hold = HoldUntilReleased(TABLE)
    front.proxy.arm(hold)
    held = in_background(front.commit, 1)
    assert hold.held.wait(TIMEOUT_S)
    assert front.commit(2).status_code == 201
    assert checkpoints(catalog) == [2]
    hold.release()
    assert held.result(TIMEOUT_S).status_code == 201
    assert checkpoints(catalog) == [2, 1]


def test_a_commit_held_until_repeated_lands_just_before_the_repetition(
    front: Front, catalog: Catalog, in_background: Callable[..., "Future[httpx.Response]"]
) -> None:
    hold = HoldUntilRepeated(TABLE)
    front.proxy.arm(hold)
    held = in_background(front.commit, 5)
    assert hold.held.wait(TIMEOUT_S)
    # another checkpoint and another table do not let it through
    assert front.commit(6).status_code == 201
    assert front.commit(5, "/v1/main/namespaces/silver/tables/traffic_1m").status_code == 201
    assert not hold.struck.is_set()
    assert front.commit(5).status_code == 201
    assert held.result(TIMEOUT_S).status_code == 201
    assert hold.first_status == 201
    assert checkpoints(catalog) == [6, 5, 5, 5]
    assert front.proxy.landed(TABLE) == 3


def test_a_held_commit_takes_place_though_its_client_was_killed(front: Front, catalog: Catalog) -> None:
    hold = HoldUntilReleased(TABLE)
    front.proxy.arm(hold)
    client = http.client.HTTPConnection(front.url.removeprefix("http://"), timeout=TIMEOUT_S)
    client.request("POST", PATH, body(1))
    assert hold.held.wait(TIMEOUT_S)
    client.close()
    hold.release()
    assert hold.struck.wait(TIMEOUT_S)
    assert checkpoints(catalog) == [1]


def test_a_catalog_that_is_away_ends_the_connection(loop: ProxyLoop, client: httpx.Client) -> None:
    proxy = CatalogProxy("http://127.0.0.1:1")
    url = f"http://127.0.0.1:{loop.listen(proxy.serve)}"
    with pytest.raises(httpx.TransportError):
        client.get(url)
    loop.run(proxy.aclose())


@pytest.mark.parametrize("make", [DropAnswer, HoldUntilReleased, HoldUntilRepeated])
def test_faults_are_faults(make: Callable[[str], Fault]) -> None:
    assert not make(TABLE).wants(FlinkCommit("silver.traffic_1m", "job", "operator", 1))
    fault = make(TABLE)
    assert fault.wants(FlinkCommit(TABLE, "job", "operator", 1))


@pytest.fixture
def relay(catalog: Catalog, loop: ProxyLoop) -> tuple[Relay, str]:
    made = Relay(catalog.url)
    return made, f"http://127.0.0.1:{loop.listen(made.serve)}"


def test_the_relay_passes_bytes_and_the_host_that_was_signed(
    relay: tuple[Relay, str], catalog: Catalog, client: httpx.Client
) -> None:
    made, url = relay
    payload = bytes(range(256)) * 4096
    answer = client.post(f"{url}/bucket/key", content=payload, headers={"Host": "signed:1"})
    assert answer.content == b"done"
    [(_, path, headers, content)] = catalog.requests
    assert (path, headers["Host"], content) == ("/bucket/key", "signed:1", payload)
    assert made.struck(Mode.PASS) > 0


def test_the_relay_answers_503(relay: tuple[Relay, str], catalog: Catalog, client: httpx.Client) -> None:
    made, url = relay
    made.mode = Mode.UNAVAILABLE
    answer = client.get(f"{url}/bucket")
    assert answer.status_code == 503
    assert b"SlowDown" in answer.content
    assert made.struck(Mode.UNAVAILABLE) == 1
    assert catalog.requests == []
    made.mode = Mode.PASS
    assert client.get(f"{url}/bucket").content == b"done"


def test_the_relay_resets(relay: tuple[Relay, str], catalog: Catalog, client: httpx.Client) -> None:
    made, url = relay
    made.mode = Mode.RESET
    with pytest.raises(httpx.NetworkError):
        client.get(f"{url}/bucket")
    assert made.struck(Mode.RESET) == 1
    assert catalog.requests == []


def test_the_relay_stalls_until_it_does_not(
    relay: tuple[Relay, str],
    catalog: Catalog,
    client: httpx.Client,
    in_background: Callable[..., "Future[httpx.Response]"],
) -> None:
    made, url = relay
    made.mode = Mode.STALL
    with pytest.raises(httpx.ReadTimeout):
        client.get(f"{url}/bucket", timeout=0.3)
    assert made.struck(Mode.STALL) == 1
    stalled = in_background(lambda: client.get(f"{url}/bucket"))
    while made.struck(Mode.STALL) < 2:
        assert not stalled.done()
    made.mode = Mode.PASS
    with pytest.raises(httpx.TransportError):
        stalled.result(TIMEOUT_S)
    assert catalog.requests == []


def test_the_loop_ends_with_connections_open(catalog: Catalog, client: httpx.Client) -> None:
    started = ProxyLoop()
    started.start()
    proxy = CatalogProxy(catalog.url)
    url = f"http://127.0.0.1:{started.listen(proxy.serve)}"
    assert client.get(url).content == b"done"
    started.run(proxy.aclose())
    started.close()
    with pytest.raises(httpx.TransportError):
        client.get(url)
    assert not [task for task in threading.enumerate() if task.name == "chaos-proxies"]


def test_the_repetition_waits_until_the_held_commit_has_landed() -> None:
    commit = FlinkCommit(TABLE, "job", "operator", 5)
    order: list[str] = []

    async def slow() -> Answer:
        await asyncio.sleep(0.01)
        order.append("first")
        return Answer(200)

    async def quick() -> Answer:
        order.append("repetition")
        return Answer(409)

    async def both() -> tuple[Answer | None, Answer | None]:
        hold = HoldUntilRepeated(TABLE)
        assert hold.wants(commit)
        first = asyncio.create_task(hold.answer(commit, slow))
        await asyncio.to_thread(hold.held.wait, TIMEOUT_S)
        assert hold.wants(commit)
        repetition = await hold.answer(commit, quick)
        return await first, repetition

    answers = asyncio.run(both())
    assert [answer.status for answer in answers if answer is not None] == [200, 409]
    assert order == ["first", "repetition"]
