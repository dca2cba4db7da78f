"""Airflow tasks that let a running Dagster do the work: runs, gates on checks, waiting for streams.

Needs Airflow and its HTTP provider. The connection ``lakehouse_dagster`` (type HTTP) says where Dagster's
webserver is; a token is its password and is sent as a bearer token, a login and password as basic auth.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

# graphql by way of the triggers, whose requests raise its errors: Airflow executes each file of its plugins folder,
# in the order of the directory, also one that another has imported, and then there are two of each class
from lakehouse_triggers import (
    CONNECTION,
    POLL_S,
    TIMED_OUT,
    RunEnds,
    WatermarkPasses,
    connect,
    graphql,
)

RESTART_PATIENCE_S = 600
"""How long a task waits for a webserver that does not answer, before it has a run to wait for."""
Answer = TypeVar("Answer")
log = logging.getLogger("airflow.task")


class DagsterRun(BaseOperator):
    """Runs assets or checks of a Dagster job and waits for them without a worker.

    A try that has a run already waits for that one, and so does one that finds an earlier try's run going on, or
    succeeded and not cleared since: the same work is never started twice. If a check of ``gated_by`` fails, the task that shows the check fails
    instead of this one. The task's value is the id of the run.

    Args:
        job: the Dagster job.
        assets: keys of its assets, as ``gold/traffic_hourly``; with ``checks`` empty too, the whole job.
        checks: checks without their assets, as ``bronze/traffic_events:contract``.
        days: which partitions, by the end of the data interval; ``None`` where there are none.
        run_config: configuration of the run.
        run_config_at: configuration of the runs whose tick is at a time of the day, as ``02:40`` in UTC.
        gated_by: checks that a task of their own shows.
        run_timeout: after it the run is cancelled and the task fails.
        connection: Airflow connection of Dagster's webserver.
    """

    ui_color = "#dedaff"

    def __init__(
        self,
        *,
        job: str,
        assets: Sequence[str] = (),
        checks: Sequence[str] = (),
        days: graphql.Days | None = None,
        run_config: Mapping[str, Any] | None = None,
        run_config_at: Mapping[str, Mapping[str, Any]] | None = None,
        gated_by: Sequence[str] = (),
        run_timeout: timedelta = timedelta(hours=6),
        connection: str = CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.assets = tuple(assets)
        self.checks = tuple(checks)
        self.days = days
        self.run_config = dict(run_config or {})
        self.run_config_at = dict(run_config_at or {})
        self.gated_by = tuple(gated_by)
        self.run_timeout = run_timeout
        self.connection = connection
        self._run_id: str | None = None

    def execute(self, context: Mapping[str, Any]) -> str:
        """Find or start the run, then wait in the triggerer."""
        tick, attempt = tick_of(context), attempt_of(context)
        dagster = connect(self.connection)
        run_id: str = self._patiently(lambda: self._run(dagster, attempt, tick))
        self._run_id = run_id
        self.log.info("Dagster run: %s", dagster.link(run_id))
        self.defer(
            trigger=RunEnds(
                connection=self.connection,
                run_id=run_id,
                deadline=time.time() + self.run_timeout.total_seconds(),
            ),
            method_name="ended",
        )
        return run_id  # not reached: defer raises

    def ended(self, context: Mapping[str, Any], event: Mapping[str, Any]) -> str:
        """Say how the run ended; anything but success fails the task."""
        run_id: str = event["run_id"]
        dagster = connect(self.connection)
        if event["status"] == TIMED_OUT:
            self._patiently(lambda: dagster.cancel(run_id))
            raise AirflowException(
                f"cancelled after {self.run_timeout}: {dagster.link(run_id)}"
            )
        progress = self._patiently(lambda: dagster.progress(run_id))
        if progress.status == "SUCCESS":
            return run_id
        if progress.status == "FAILURE" and failed_checks(
            progress.checks, self.gated_by
        ):
            self.log.warning(
                "A check failed; the task that shows it fails: %s", dagster.link(run_id)
            )
            return run_id
        if progress.status == "CANCELED" and not self._patiently(
            lambda: dagster.has_run(attempt_of(context))
        ):
            # it was cancelled because the earlier try was killed that it belongs to
            return self.execute(context)
        raise AirflowException(
            f"run ended as {progress.status}: {progress.error}; {dagster.link(run_id)}"
        )

    def on_kill(self) -> None:
        """Cancel the run; a task that waits in the triggerer is killed there."""
        if self._run_id is not None:
            connect(self.connection).cancel(self._run_id)

    def _run(
        self, dagster: graphql.Dagster, attempt: graphql.Attempt, tick: datetime
    ) -> str:
        known: str | None = dagster.run_of(attempt)
        if known is not None:
            self.log.info("This task has a run already")
            return known
        started: str = dagster.launch(
            self.job,
            attempt=attempt,
            assets=self.assets,
            checks=self.checks,
            days=None if self.days is None else self.days.of(tick),
            run_config=self.run_config_at.get(f"{tick:%H:%M}", self.run_config),
        )
        return started

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        deadline = time.monotonic() + RESTART_PATIENCE_S
        while True:
            try:
                return ask()
            except graphql.UnreachableError as error:
                if time.monotonic() > deadline:
                    raise
                self.log.warning("%s; asking again", error)
            time.sleep(POLL_S)


class DagsterGate(BaseOperator):
    """Fails if a blocking check of a run failed, so that nothing downstream starts; the log has what it said."""

    ui_color = "#ffe9c9"

    def __init__(
        self,
        *,
        run_of: str,
        checks: Sequence[str],
        connection: str = CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_of = run_of
        self.checks = tuple(checks)
        self.connection = connection

    def execute(self, context: Mapping[str, Any]) -> None:
        """Read what the checks said in the run of the task ``run_of``."""
        run_id: str | None = context["ti"].xcom_pull(task_ids=self.run_of)
        if run_id is None:
            raise AirflowFailException(
                f"{self.run_of} has left no run id: clear that task too"
            )
        dagster = connect(self.connection)
        checks = dagster.progress(run_id).checks
        for check in checks:
            self.log.info("%s", check)
        failed = failed_checks(checks, self.checks)
        if failed:
            # to read the same run again changes nothing: no retry
            raise AirflowFailException(
                f"{'; '.join(map(str, failed))}; {dagster.link(run_id)}"
            )
        unseen = set(self.checks) - {f"{check.asset}:{check.name}" for check in checks}
        if unseen:
            raise AirflowFailException(
                f"the run did not evaluate {', '.join(sorted(unseen))}"
            )


class StreamReaches(BaseOperator):
    """Waits until a table that is written all the time has what happened before the data interval's end.

    Reads the watermark that Dagster's sensor reports with each snapshot. It never starts the stream.
    """

    ui_color = "#c9f0ff"

    def __init__(
        self,
        *,
        asset: str,
        wait_timeout: timedelta,
        connection: str = CONNECTION,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.asset = asset
        self.wait_timeout = wait_timeout
        self.connection = connection

    def execute(self, context: Mapping[str, Any]) -> None:
        """Wait in the triggerer."""
        self.defer(
            trigger=WatermarkPasses(
                connection=self.connection,
                asset=self.asset,
                until=tick_of(context).timestamp(),
                deadline=time.time() + self.wait_timeout.total_seconds(),
            ),
            method_name="reached",
        )

    def reached(self, context: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Fail if the stream did not come that far in time."""
        if event["status"] == TIMED_OUT:
            raise AirflowException(
                f"{self.asset} reaches to {event['reached']} only, after {self.wait_timeout}: "
                "is its stream stuck, or its topic silent?"
            )
        self.log.info("%s reaches to %s", self.asset, event["reached"])


def tick_of(context: Mapping[str, Any]) -> datetime:
    """When the DAG run is due: the end of its data interval; for one that has none, when it may start."""
    tick: datetime | None = context.get("data_interval_end")
    return tick if tick is not None else context["dag_run"].run_after


def failed_checks(
    checks: Sequence[graphql.Check], of: Sequence[str]
) -> list[graphql.Check]:
    """Those of the checks ``of`` (``gold/x:contract``) that failed with severity ERROR."""
    return [
        c
        for c in checks
        if f"{c.asset}:{c.name}" in of and not c.passed and c.severity == "ERROR"
    ]


def tell_failure(context: Mapping[str, Any]) -> None:
    """Callback of each task that failed: one line with task, DAG run and reason in the log. Extend it here."""
    log.error("%s failed: %s", attempt_of(context).task, context.get("exception"))


def attempt_of(context: Mapping[str, Any]) -> graphql.Attempt:
    """What a Dagster run is known by: DAG, DAG run and task, its try, and how often the DAG run was cleared."""
    ti = context["ti"]
    mapped = "" if ti.map_index < 0 else f"[{ti.map_index}]"
    return graphql.Attempt(
        task=f"{ti.dag_id}/{ti.run_id}/{ti.task_id}{mapped}",
        number=int(ti.try_number),
        clears=int(getattr(context["dag_run"], "clear_number", None) or 0),
    )
