"""Evaluations that Dagster really recorded become rows and a page."""

import json
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import dagster as dg
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog

from contracts import quality_results, table
from lakehouse_assets.check_results import check_result
from lakehouse_assets.quality import evaluations as module
from lakehouse_assets.quality.evaluations import evaluations
from lakehouse_assets.quality.report import render, trend
from lakehouse_assets.quality.store import overwrite, results_since
from resources.quality import validate

KEY = dg.AssetKey(["gold", "traffic_hourly"])
PAST, FUTURE = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dg.asset_check(asset=KEY, name="contract")
def contract() -> dg.AssetCheckResult:
    """Two rows with one key, of which one has an impossible speed."""
    declared = table("gold.traffic_hourly")
    start = datetime(2026, 3, 1, tzinfo=UTC)
    row: dict[str, Any] = {column.name: None for column in declared.columns}
    row |= {"sensor_id": "s", "window_start": start, "window_end": start + timedelta(hours=1), "event_count": 1}
    rows = [row, row | {"avg_speed_kmh_mean": -5.0}]
    return check_result(validate(declared, pa.Table.from_pylist(rows)), "both")


@dg.asset_check(asset=KEY, name="always")
def always() -> dg.AssetCheckResult:
    """Passes."""
    return dg.AssetCheckResult(passed=True, severity=dg.AssetCheckSeverity.WARN)


CHECKS = [dg.AssetCheckKey(KEY, name) for name in ("contract", "always", "never-ran")]


def recorded(instance: dg.DagsterInstance, times: int) -> None:
    job = dg.Definitions(
        asset_checks=[contract, always], jobs=[dg.define_asset_job("checks", dg.AssetSelection.all_asset_checks())]
    ).resolve_job_def("checks")
    for _ in range(times):
        assert job.execute_in_process(instance=instance).success


def test_every_evaluation_is_a_row_with_what_failed(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    with dg.DagsterInstance.ephemeral() as instance:
        recorded(instance, 3)
        rows = evaluations(instance, CHECKS, PAST, FUTURE)
        runs = {run.run_id for run in instance.get_runs()}
        assert evaluations(instance, CHECKS, PAST, PAST + timedelta(days=1)) == []
        middle = rows[2]["checked_at"]
        assert [row for row in rows if row["checked_at"] < middle] == evaluations(instance, CHECKS, PAST, middle)
    assert sorted((row["table_name"], row["check_name"], row["passed"]) for row in rows) == (
        [("gold.traffic_hourly", "always", True)] * 3 + [("gold.traffic_hourly", "contract", False)] * 3
    )
    assert {row["run_id"] for row in rows} == runs
    failed = next(row for row in rows if not row["passed"])
    assert (failed["severity"], failed["row_count"]) == ("ERROR", 2)
    failures = json.loads(failed["failures"])
    assert any(f["columns"] == "sensor_id, window_start" and f["severity"] == "error" for f in failures)
    assert any(f["columns"] == "avg_speed_kmh_mean" and f["severity"] == "warning" for f in failures)
    assert not any(f["passed"] for f in failures)


def test_a_day_that_is_written_again_replaces_itself(disk_catalog: Catalog) -> None:
    declared = quality_results()
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 3)]

    def row(at: datetime, check: str) -> dict[str, Any]:
        plain = {"table_name": "gold.traffic_hourly", "passed": True, "severity": "ERROR"}
        return plain | {"checked_at": at, "check_name": check}

    for day in days[:2]:
        overwrite(disk_catalog, declared, [row(day, "first")], day, day + timedelta(days=1))
    overwrite(disk_catalog, declared, [row(days[1], "again")], days[1], days[2])
    found = results_since(disk_catalog, declared, days[0])
    assert [(each["checked_at"], each["check_name"]) for each in found] == [(days[0], "first"), (days[1], "again")]
    overwrite(disk_catalog, declared, [], days[0], days[1])
    assert [each["check_name"] for each in results_since(disk_catalog, declared, days[0])] == ["again"]


class Page(HTMLParser):
    """The text of a page, its bars, and whether every element is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text, self.bars = "", 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "iframe", "img", "link"}
        self.bars += tag == "rect"
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
rows = st.fixed_dictionaries(
    {
        "checked_at": st.datetimes(datetime(2026, 2, 20), datetime(2026, 3, 1)).map(
            lambda moment: moment.replace(tzinfo=UTC)
        ),
        "table_name": st.sampled_from(["gold.a", "gold.<script>"]),
        "check_name": st.sampled_from(["contract", "a & b"]),
        "passed": st.booleans(),
        "severity": st.sampled_from(["ERROR", "WARN"]),
        "description": st.none() | texts,
        "failures": st.none() | texts.map(lambda text: json.dumps([{"observed": text}])),
    }
)


@given(st.lists(rows, max_size=30))
def test_the_page_shows_all_it_is_given_and_nothing_runs(found: list[dict[str, Any]]) -> None:
    page = Page(render(found, datetime(2026, 3, 1, 12, tzinfo=UTC), days=30))
    assert page.open == []
    tables = {row["table_name"] for row in found}
    assert all(name in page.text for name in tables)
    checks = {(row["table_name"], row["check_name"]) for row in found}
    newest = {
        (row["table_name"], row["check_name"]): row for row in sorted(found, key=lambda row: row["checked_at"])
    }
    passing = sum(row["passed"] for row in newest.values())
    assert f"{passing} of {len(checks)} checks of {len(tables)} tables passed" in page.text
    verdicts = {(row["table_name"], row["checked_at"].date(), row["passed"] or row["severity"]) for row in found}
    assert page.bars == len(verdicts)


def test_the_trend_counts_by_day() -> None:
    def row(day: int, passed: bool, severity: str) -> dict[str, Any]:
        return {"checked_at": datetime(2026, 3, day, 23, 59, tzinfo=UTC), "passed": passed, "severity": severity}

    counts = trend([row(1, True, "WARN"), row(1, False, "WARN"), row(2, False, "ERROR"), row(2, False, "ERROR")])
    assert counts == {
        date(2026, 3, 1): {"passed": 1, "warned": 1, "failed": 0},
        date(2026, 3, 2): {"passed": 0, "warned": 0, "failed": 2},
    }
