"""Reads the evaluations of checks out of Dagster's event log, as rows of ``gold.quality_results``."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from lakehouse_assets.check_results import EXPECTATIONS, ROWS

PAGE = 500


def evaluations(
    instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey], start: datetime, end: datetime
) -> list[dict[str, Any]]:
    """What each of ``checks`` said in ``[start, end)``, oldest first."""
    rows = [row for check in checks for row in _of_check(instance, check, start, end)]
    return sorted(rows, key=lambda row: (row["checked_at"], row["table_name"], row["check_name"]))


def _of_check(
    instance: dg.DagsterInstance, check: dg.AssetCheckKey, start: datetime, end: datetime
) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        # newest first
        page = instance.event_log_storage.get_asset_check_execution_history(check, limit=PAGE, cursor=cursor)
        for record in page:
            event = record.event
            # one that was planned and not evaluated yet says nothing
            if event is None or event.dagster_event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                continue
            checked_at = datetime.fromtimestamp(event.timestamp, UTC)
            if start <= checked_at < end:
                yield _row(checked_at, event.asset_check_evaluation, event.run_id)
        if len(page) < PAGE or datetime.fromtimestamp(page[-1].create_timestamp, UTC) < start:
            return
        cursor = page[-1].id


def _row(checked_at: datetime, evaluation: dg.AssetCheckEvaluation | None, run_id: str) -> dict[str, Any]:
    if evaluation is None:
        raise ValueError("an evaluation event without an evaluation")
    failures = _failures(evaluation.metadata)
    rows = evaluation.metadata.get(ROWS)
    return {
        "checked_at": checked_at,
        "table_name": ".".join(evaluation.asset_key.path),
        "check_name": evaluation.check_name,
        "passed": evaluation.passed,
        "severity": evaluation.severity.value,
        "row_count": int(rows.value) if rows is not None and isinstance(rows.value, int) else None,
        "description": evaluation.description,
        "failures": json.dumps(failures) if failures else None,
        # what a sensor reports belongs to no run
        "run_id": run_id or None,
    }


def _failures(metadata: Mapping[str, dg.MetadataValue]) -> list[dict[str, Any]]:
    expectations = metadata.get(EXPECTATIONS)
    if not isinstance(expectations, dg.TableMetadataValue):
        return []
    return [dict(record.data) for record in expectations.records if not record.data.get("passed")]
