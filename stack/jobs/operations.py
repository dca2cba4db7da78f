"""Stops and starts jobs so that the next one continues exactly where the one before it ended."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from contracts import Family, LakehouseError
from settings import Settings
from stack.jobs.flink_rest import ALIVE, FlinkRest, FlinkUnavailableError, SavepointError
from stack.jobs.rewind import refuse_rewind
from stack.jobs.state import STATE_LAYOUT, load_state, save_state

START_TIMEOUT_S = 180

Report = Callable[[str], None]


class JobNotRunningError(LakehouseError):
    """A job did not get to run in time."""


def stop_jobs(settings: Settings, families: Sequence[Family], report: Report, *, stay_stopped: bool) -> None:
    """Stop the jobs with a savepoint each and remember the savepoints.

    A job that cannot make one is left to be continued from its newest retained checkpoint, which loses and
    doubles nothing either but reads some events again. With ``stay_stopped`` the keeper leaves them alone until
    they are started again.
    """
    client = FlinkRest(settings.flink_url)
    for family in families if stay_stopped else ():
        _update(settings, family, stopped=True)
    try:
        alive = {job.job_id for job in client.jobs() if job.state in ALIVE}
    except FlinkUnavailableError as error:
        report(f"{error}: the jobs will continue from their newest checkpoints")
        return
    running = {
        family: job_id
        for family in families
        if (job_id := load_state(settings, family.name).job_id) is not None and job_id in alive
    }
    if not running:
        return

    def stop(family: Family) -> None:
        try:
            path = client.stop_with_savepoint(running[family], f"{settings.checkpoint_location}/savepoints")
        except (SavepointError, FlinkUnavailableError) as error:
            report(f"{family.name}: {error}; it will continue from its newest checkpoint")
            return
        _update(settings, family, savepoint=path)
        report(f"{family.name}: stopped with savepoint {path}")

    with ThreadPoolExecutor(len(running)) as pool:
        list(pool.map(stop, running))


def start_jobs(
    settings: Settings, families: Sequence[Family], *, restore_from: str | None = None, allow_rewind: bool = False
) -> None:
    """Let the keeper start the jobs and wait until they run.

    Args:
        settings: where Flink is.
        families: whose jobs.
        restore_from: savepoint or checkpoint; without it the newest there is.
        allow_rewind: also from a point that is older than the tables.

    Raises:
        RewindError: ``restore_from`` is older than the tables, and that is not allowed.
        JobNotRunningError: a job does not run within :data:`START_TIMEOUT_S`.
    """
    for family in families:
        if restore_from is not None and not allow_rewind:
            refuse_rewind(settings, family, restore_from, load_state(settings, family.name).lineage)
        chosen = (
            {} if restore_from is None else {"savepoint": restore_from, "resume": None, "layout": STATE_LAYOUT}
        )
        _update(settings, family, stopped=False, allow_rewind=allow_rewind, **chosen)
    await_running(settings, families)


def await_running(settings: Settings, families: Sequence[Family]) -> None:
    """Wait until the job of each family runs.

    Raises:
        JobNotRunningError: one does not within :data:`START_TIMEOUT_S`.
    """
    client = FlinkRest(settings.flink_url)

    def missing() -> list[str]:
        running = {job.job_id for job in client.jobs() if job.state == "RUNNING"}
        return [family.name for family in families if load_state(settings, family.name).job_id not in running]

    retrying = Retrying(retry=retry_if_result(bool), stop=stop_after_delay(START_TIMEOUT_S), wait=wait_fixed(0.5))
    try:
        retrying(missing)
    except RetryError as error:
        raise JobNotRunningError(
            f"the jobs of {', '.join(missing())} do not run after {START_TIMEOUT_S} s: "
            "`./lakehouse logs job-keeper` says why"
        ) from error


def _update(settings: Settings, family: Family, **changes: object) -> None:
    save_state(settings, family.name, load_state(settings, family.name).model_copy(update=changes))
