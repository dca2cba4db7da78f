"""What a check said before, from Dagster's event log."""

from collections.abc import Iterator

import dagster as dg

PAGE = 20


def evaluations_of(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> Iterator[dg.AssetCheckEvaluation]:
    """The evaluations of ``check``, the newest first.

    A run that is under way has planned one, and a run that failed leaves it at that: those are none.
    """
    cursor = None
    while page := instance.event_log_storage.get_asset_check_execution_history(check, limit=PAGE, cursor=cursor):
        for record in page:
            event = record.event
            if event is None or event.dagster_event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                continue
            if (evaluation := event.asset_check_evaluation) is not None:
                yield evaluation
        cursor = page[-1].id
