"""The process that keeps one Flink job per family running."""

from pathlib import Path

from contracts import families
from settings import Settings
from stack.jobs.flink_rest import FlinkRest, FlinkUnavailableError
from stack.local.service import Service, Stage
from stack.local.services.flink import client_environment


def service(settings: Settings, java_home: Path) -> Service:
    """The keeper; ready when the job of every family runs."""
    return Service(
        name="job-keeper",
        stage=Stage.APPLICATION,
        command=(str(settings.toolchain / "main" / "bin" / "python"), "-m", "stack.jobs.keeper"),
        environment=client_environment(settings, java_home),
        address="submits the jobs to the JobManager",
        is_ready=lambda: _all_run(settings),
        start_seconds=180,
    )


def _all_run(settings: Settings) -> bool:
    try:
        running = {job.name for job in FlinkRest(settings.flink_url).jobs() if job.state == "RUNNING"}
    except FlinkUnavailableError:
        return False
    return {family.job_name for family in families()} <= running
