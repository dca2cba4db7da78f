"""The sensor that tells people of runs that failed."""

from typing import TYPE_CHECKING

import dagster as dg

from lakehouse_assets.gold.partitions import RANGE_END, RANGE_START
from settings import Settings

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo
    from pydantic import JsonValue

LONGEST_ERROR = 2_000
"""Characters of an error that are told; the run has all of it."""


@dg.run_failure_sensor(
    name="failed_run_alert",
    description="Posts each run that failed to the webhook of the settings; without one it is logged",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def failed_run_alert(context: dg.RunFailureSensorContext, settings: dg.ResourceParam[Settings]) -> None:
    """Tell what failed, of what, why, and where to look.

    Dagster hands over each failed run once; a daemon that is killed in between may do so again, and the receiver
    knows the alert by its ``run_id``.

    Raises:
        WebhookError: the webhook did not accept it. The tick then fails with the alert in its log.
    """
    from resources.webhook import post_json  # a code location loads without it

    alert = _alert(context, settings.dagster_url)
    context.log.error(str(alert["text"]))
    if settings.alert_webhook_url is not None:
        post_json(settings.alert_webhook_url, alert)


def _alert(context: dg.RunFailureSensorContext, dagster_url: str) -> "dict[str, JsonValue]":
    """The alert as JSON; ``text`` says all of it in a line, as chat webhooks show it."""
    run = context.dagster_run
    partition = _partition(run)
    error = _error(context)
    url = f"{dagster_url}/runs/{run.run_id}"
    will_retry = run.tags.get("dagster/will_retry") == "true"
    of = "" if partition is None else f" of {partition}"
    return {
        "text": f"{run.job_name}{of} failed{', and is started again' if will_retry else ''}: {error} ({url})",
        "job": run.job_name,
        "run_id": run.run_id,
        "partition": partition,
        "assets": [*_assets(context)],
        "error": error,
        "will_retry": will_retry,
        "run_url": url,
    }


def _partition(run: dg.DagsterRun) -> str | None:
    first, last = run.tags.get(RANGE_START), run.tags.get(RANGE_END)
    if first is None or last is None:
        return run.tags.get("dagster/partition")
    return first if first == last else f"{first} to {last}"


def _assets(context: dg.RunFailureSensorContext) -> list[str]:
    """Keys of the assets that the run was to materialise."""
    planned = context.instance.all_logs(
        context.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    )
    events = (entry.dagster_event for entry in planned)
    return sorted({e.asset_key.to_user_string() for e in events if e is not None and e.asset_key is not None})


def _error(context: dg.RunFailureSensorContext) -> str:
    """The step that failed first and its innermost error; without one, why the run ended."""
    for event in context.get_step_failure_events():
        if (error := event.step_failure_data.error) is not None:
            return f"step {event.step_key}: {_innermost(error).message.strip()}"[:LONGEST_ERROR]
    return (context.failure_event.message or "no reason is known")[:LONGEST_ERROR]


def _innermost(error: "SerializableErrorInfo") -> "SerializableErrorInfo":
    # the outer ones say which step it happened in
    while error.cause is not None:
        error = error.cause
    return error
