"""The services of the local stack, one module each, in the order in which they start."""

from pathlib import Path

from settings import Settings
from stack.local.service import Service
from stack.local.services import (
    api,
    commit_guard,
    dagster,
    dead_letter_collector,
    flink,
    hot_view,
    job_keeper,
    kafka,
    redis,
    store,
)


def services(settings: Settings, java_home: Path) -> tuple[Service, ...]:
    """All services, in the order in which they start; they stop in reverse."""
    return (
        store.service(settings),
        commit_guard.service(settings),
        kafka.service(settings, java_home),
        redis.service(settings),
        flink.job_manager(settings, java_home),
        flink.task_manager(settings, java_home),
        dagster.code_server(settings, java_home),
        dagster.webserver(settings, java_home),
        dagster.daemon(settings, java_home),
        api.service(settings),
        hot_view.service(settings),
        dead_letter_collector.service(settings),
        job_keeper.service(settings, java_home),
    )


def prepare(settings: Settings, java_home: Path) -> None:
    """Write the configuration files of all services below ``<home>/conf``."""
    store.prepare(settings)
    kafka.prepare(settings, java_home)
    redis.prepare(settings)
    flink.prepare(settings)
    dagster.prepare(settings)
