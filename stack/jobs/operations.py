"""Stops the jobs so that the next start continues exactly where they ended."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from contracts import families
from settings import Settings
from stack.jobs.flink_rest import ALIVE, FlinkRest, FlinkUnavailableError, SavepointError
from stack.jobs.state import load_state, save_state


def stop_jobs(settings: Settings, report: Callable[[str], None]) -> None:
    """Stop every family's job with a savepoint and remember the savepoint.

    A job that cannot make one is left to be continued from its newest retained checkpoint, which loses and
    doubles nothing either but reads some events again.
    """
    client = FlinkRest(settings.flink_url)
    try:
        alive = {job.job_id for job in client.jobs() if job.state in ALIVE}
    except FlinkUnavailableError as error:
        report(f"{error}: the jobs will continue from their newest checkpoints")
        return
    running = {
        family.name: job_id
        for family in families()
        if (job_id := load_state(settings, family.name).job_id) is not None and job_id in alive
    }
    if not running:
        return

    def stop(name: str) -> None:
        try:
            path = client.stop_with_savepoint(running[name], f"{settings.checkpoint_location}/savepoints")
        except (SavepointError, FlinkUnavailableError) as error:
            report(f"{name}: {error}; it will continue from its newest checkpoint")
            return
        state = load_state(settings, name)
        save_state(settings, name, state.model_copy(update={"savepoint": path}))
        report(f"{name}: stopped with savepoint {path}")

    with ThreadPoolExecutor(len(running)) as pool:
        list(pool.map(stop, running))
