"""Sends the requests of a plan and takes their times, in one thread."""

import select
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle

from benchmarks.load.connection import Connection
from benchmarks.load.pacing import Closed, Open, Pacing, milliseconds
from benchmarks.load.plan import LoadPlan, LoadResult

GIVE_UP_S = 30.0
"""How long after the last request is due answers are waited for."""


class Generator:
    """One run of a plan."""

    def __init__(self, plan: LoadPlan) -> None:
        self._plan = plan
        self._requests = _requests(plan)
        self._poller = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._free: deque[Connection] = deque()
        self._times: list[float] = []
        self._statuses: Counter[int] = Counter()
        self._body_bytes = 0
        self._broken = 0
        self._measured_from = 0.0
        self._last_answer = 0.0

    def run(self) -> LoadResult:
        """Send all requests that are due and wait for their answers.

        Raises:
            OSError: the server does not listen.
            ValueError: nothing was answered in time.
        """
        plan = self._plan
        for _ in range(plan.connections):
            self._connect()
        start = time.perf_counter()
        self._measured_from = start + plan.warm_up_s
        end = self._measured_from + plan.seconds
        pacing: Pacing = Closed(end)
        if plan.rate is not None:
            pacing = Open(start, plan.rate, round((plan.warm_up_s + plan.seconds) * plan.rate))
        cpu = time.process_time()
        self._loop(pacing, end + GIVE_UP_S)
        ended = time.perf_counter()
        cpu_share = (time.process_time() - cpu) / (ended - start)
        unanswered = self._give_up(pacing, ended)
        seconds = max(self._last_answer, end) - self._measured_from
        answered = len(self._times) - unanswered
        return LoadResult(
            requests=answered,
            seconds=round(seconds, 3),
            per_s=round(answered / seconds, 1),
            statuses=dict(self._statuses),
            broken=self._broken,
            unanswered=unanswered,
            body_bytes=round(self._body_bytes / max(answered, 1), 1),
            generator_cpu_share=round(cpu_share, 3),
            **milliseconds(self._times),
        )

    def _loop(self, pacing: Pacing, until: float) -> None:
        while (now := time.perf_counter()) < until:
            while self._free and (due := pacing.take(now)) is not None:
                connection = self._free.popleft()
                connection.send(next(self._requests), due)
            next_at = pacing.next_at()
            if next_at is None and len(self._free) == len(self._connections):
                return
            # with all connections taken it is an answer that is waited for
            wake_at = until if next_at is None or not self._free else next_at
            self._take_answers(max(0.0, wake_at - now))

    def _take_answers(self, patience_s: float) -> None:
        # epoll counts in milliseconds, select in microseconds: requests would be late by half of one
        ready, _, _ = select.select([self._poller], (), (), patience_s)
        for number, _ in self._poller.poll(0) if ready else ():
            connection = self._connections[number]
            try:
                waits = connection.receive()
            except ConnectionError:
                self._broken += 1
                self._replace(connection)
                continue
            if self._plan.first_byte and connection.answer.body_bytes:
                self._note(connection)
                self._replace(connection)
            elif not waits:
                self._note(connection)
                self._free.append(connection)

    def _note(self, connection: Connection) -> None:
        now = time.perf_counter()
        if connection.due < self._measured_from:
            return
        self._times.append(now - connection.due)
        self._statuses[connection.status] += 1
        self._body_bytes += connection.answer.body_bytes
        self._last_answer = now

    def _give_up(self, pacing: Pacing, now: float) -> int:
        """Count what is under way, or was not even sent, with the time that it waited; returns how many."""
        free = set(self._free)
        waiting = [each.due for each in self._connections.values() if each not in free]
        while (due := pacing.take(now)) is not None and self._plan.rate is not None:
            waiting.append(due)
        waiting = [due for due in waiting if due >= self._measured_from]
        self._times += [now - due for due in waiting]
        return len(waiting)

    def _connect(self) -> None:
        connection = Connection((self._plan.host, self._plan.port))
        self._connections[connection.socket.fileno()] = connection
        self._poller.register(connection.socket, select.EPOLLIN)
        self._free.append(connection)

    def _replace(self, connection: Connection) -> None:
        with suppress(ValueError):  # it had no request under way
            self._free.remove(connection)
        del self._connections[connection.socket.fileno()]
        self._poller.unregister(connection.socket)
        connection.close()
        self._connect()


def _requests(plan: LoadPlan) -> Iterator[bytes]:
    fields = {"Host": f"{plan.host}:{plan.port}", **plan.headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return cycle([f"GET {path} HTTP/1.1\r\n{head}\r\n".encode() for path in plan.paths])
