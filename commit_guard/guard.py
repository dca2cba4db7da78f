"""Judges a commit of Flink, forwards it at most once, and answers for the catalog where the rule says so."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from commit_guard.ancestries import Ancestries
from commit_guard.commits import Commit, TableChange
from commit_guard.decision import Decision, FlinkSnapshot, Forward, Refused, Repeated, decide
from commit_guard.messages import Incoming, error_response, json_response, whole_response
from commit_guard.metrics import Metrics, Outcome
from commit_guard.upstream import RelayedError, Upstream, UpstreamError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Settled:
    """The commit's answer."""

    outcome: Outcome
    response: Response


@dataclass(frozen=True, slots=True)
class _Open:
    """No table has it: for the catalog to decide, with the branches of each table at these snapshots."""

    heads: tuple[Mapping[str, int | None], ...]


class CommitGuard:
    """Applies the rule of ``decision`` to commits; what it keeps between them only saves loads of the table."""

    def __init__(self, upstream: Upstream, metrics: Metrics) -> None:
        self._upstream = upstream
        self._metrics = metrics
        self._ancestries = Ancestries()

    async def answer(self, incoming: Incoming, commit: Commit) -> Response:
        """Answer a commit of Flink."""
        started = time.perf_counter()
        in_catalog = 0.0
        verdict = self._known_to_be_new(commit) or await self._judge(incoming, commit)
        if isinstance(verdict, _Open):
            forwarded = time.perf_counter()
            settled = await self._forward(incoming, commit, verdict)
            in_catalog = time.perf_counter() - forwarded
            if settled.response.status_code == HTTPStatus.CONFLICT:
                settled = await self._look_again(incoming, commit, settled)
        else:
            settled = verdict
        self._metrics.added_seconds.observe(time.perf_counter() - started - in_catalog)
        for change in commit.changes:
            self._metrics.commits.labels(change.table, settled.outcome).inc()
        return settled.response

    def _known_to_be_new(self, commit: Commit) -> _Open | None:
        # the client ties its commit to a snapshot: where the branch has moved on, the catalog sees a conflict
        known = all(
            snapshot.branch in change.asserted
            and self._ancestries.lacks(change.asserted[snapshot.branch], snapshot.checkpoint)
            for change in commit.changes
            for snapshot in change.snapshots
        )
        return _Open(tuple(change.asserted for change in commit.changes)) if known else None

    async def _judge(self, incoming: Incoming, commit: Commit) -> _Settled | _Open:
        try:
            tables = [await self._upstream.load_table(change.path, incoming.headers) for change in commit.changes]
        except UpstreamError as error:
            return _failed(commit, HTTPStatus.SERVICE_UNAVAILABLE, error)
        except RelayedError as refusal:
            return _Settled(Outcome.FAILED, whole_response(refusal.response, refusal.response.content))
        judged = []
        for change, table in zip(commit.changes, tables, strict=True):
            if table is None:
                continue  # in creation: it has no snapshots, and the catalog knows whether it may be created
            for snapshot in change.snapshots:
                decision = decide(table["metadata"], snapshot)
                judged.append((change, snapshot, decision))
                if isinstance(decision, Forward):
                    self._ancestries.learn(decision.head, table["metadata"])
        if all(isinstance(decision, Forward) for _, _, decision in judged):
            return _Open(tuple(_heads(judged, change) for change in commit.changes))
        if all(isinstance(decision, Repeated) for _, _, decision in judged):
            return _repeated(commit, tables)
        return _refused(judged)

    async def _forward(self, incoming: Incoming, commit: Commit, verdict: _Open) -> _Settled:
        content = commit.pinned(verdict.heads)
        headers = incoming.headers
        if content is not commit.content:
            headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        try:
            answer = await self._upstream.send(replace(incoming, headers=headers, content=content))
            body = await self._upstream.read(answer)
        except UpstreamError as error:
            return _failed(commit, error.status, error)
        if answer.is_success:
            for change in commit.changes:
                for snapshot in change.snapshots:
                    self._ancestries.extend(snapshot)
        outcome = Outcome.FAILED if answer.is_server_error else Outcome.FORWARDED
        return _Settled(outcome, whole_response(answer, body))

    async def _look_again(self, incoming: Incoming, commit: Commit, conflict: _Settled) -> _Settled:
        # an earlier attempt of the same commit can land between the look and the forward: told of a conflict, the
        # client would delete the files of a snapshot that is in the table
        verdict = await self._judge(incoming, commit)
        return conflict if isinstance(verdict, _Open) else verdict


def _heads(
    judged: list[tuple[TableChange, FlinkSnapshot, Decision]], change: TableChange
) -> Mapping[str, int | None]:
    return {
        snapshot.branch: decision.head
        for judged_change, snapshot, decision in judged
        if judged_change is change and isinstance(decision, Forward)
    }


def _repeated(commit: Commit, tables: list[dict[str, Any] | None]) -> _Settled:
    logger.warning("a commit of %s was repeated: answered with what it made", commit.tables)
    (table, *_) = tables
    if commit.is_transaction or table is None:
        return _Settled(Outcome.REPEATED, Response(status_code=HTTPStatus.NO_CONTENT))
    result = {"metadata-location": table["metadata-location"], "metadata": table["metadata"]}
    return _Settled(Outcome.REPEATED, json_response(HTTPStatus.OK, result))


def _refused(judged: list[tuple[TableChange, FlinkSnapshot, Decision]]) -> _Settled:
    reasons = [
        f"snapshot {decision.holder} of branch {snapshot.branch} of {change.table} holds checkpoint "
        f"{snapshot.checkpoint.checkpoint_id} of job {snapshot.checkpoint.job_id} already: it has all up to "
        f"checkpoint {decision.checkpoint_id}"
        if isinstance(decision, Refused)
        else f"snapshot {snapshot.snapshot_id} of {change.table} is in the table, the rest of its commit is not"
        for change, snapshot, decision in judged
        if not isinstance(decision, Forward)
    ]
    message = "; ".join(reasons)
    logger.warning("refused a commit: %s", message)
    # not 409: Iceberg's client takes that for a conflict, refreshes and tries again for minutes, while the job
    # cannot checkpoint; 400 fails the commit at once, and the restarted job skips it
    # (``ErrorHandlers.tableCommitHandler`` and ``SnapshotProducer.commit`` of Iceberg 1.11)
    return _Settled(Outcome.REFUSED, error_response(HTTPStatus.BAD_REQUEST, "BadRequestException", message))


def _failed(commit: Commit, status: HTTPStatus, error: UpstreamError) -> _Settled:
    logger.warning("a commit of %s failed: %s", commit.tables, error)
    return _Settled(Outcome.FAILED, upstream_error_response(status, error))


def upstream_error_response(status: HTTPStatus, error: UpstreamError) -> Response:
    """Say in the REST spec's terms that the catalog gave no answer."""
    unknown = status is not HTTPStatus.SERVICE_UNAVAILABLE
    kind = "CommitStateUnknownException" if unknown else "ServiceUnavailableException"
    return error_response(status, kind, str(error))
