"""Rules between columns: rows that engines make meet them, and each way to break one is found, with its key."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from iceberg_on_disk import START, plausible_row

from contracts import ContractError, Table, all_tables, family, table
from contracts.rules import WINDOW, Counted, NotBelow
from resources.quality import SUITES, Finding, QualityReport, SuiteError, hand_written, validate

HOURLY = table("gold.traffic_hourly")
SPEED = "avg_speed_kmh"
ROWS = 12


def as_arrow(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows)


def failed(report: QualityReport) -> list[Finding]:
    return [finding for finding in report.findings if not finding.passed]


def plausible_rows(declared: Table) -> list[dict[str, Any]]:
    return [plausible_row(declared, number) for number in range(1, ROWS + 1)]


def rows_of(values_by_sensor: list[list[float | None]]) -> list[dict[str, Any]]:
    """Rows of the hourly table whose speeds are those of each sensor's events."""
    rows = []
    for number, values in enumerate(values_by_sensor):
        present = [value for value in values if value is not None]
        rows.append(
            plausible_row(HOURLY, number + 1)
            | {
                "event_count": len(values),
                "vehicle_count_count": 0,
                "occupancy_ratio_count": 0,
                f"{SPEED}_count": len(present),
                f"{SPEED}_min": min(present, default=None),
                f"{SPEED}_max": max(present, default=None),
                # as engines sum: each step rounded
                f"{SPEED}_mean": sum(present) / len(present) if present else None,
                f"{SPEED}_last": present[-1] if present else None,
            }
            | {
                f"{name}_{function}": None
                for name in ("vehicle_count", "occupancy_ratio")
                for function in ("min", "max", "mean", "last")
            }
        )
    return rows


def test_what_aggregates_of_any_values_are_meets_the_rules() -> None:
    rng = random.Random(11)
    values: list[list[float | None]] = [
        [rng.choice([None, 0.1, 0.7, rng.uniform(0, 300)]) for _ in range(rng.randint(1, 9))] for _ in range(200)
    ]
    values += [[0.1] * 3, [None], [0.7] * 7]
    report = validate(HOURLY, as_arrow(rows_of(values)))
    assert failed(report) == []
    assert sum([0.1] * 3) / 3 > 0.1  # what rounding is allowed for


BROKEN: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    ({f"{SPEED}_max": 0.5}, {f"{SPEED}_max, {SPEED}_{name}" for name in ("min", "mean", "last")}),
    ({f"{SPEED}_mean": 1.00001}, {f"{SPEED}_max, {SPEED}_mean"}),
    ({f"{SPEED}_mean": 0.99999}, {f"{SPEED}_mean, {SPEED}_min"}),
    ({f"{SPEED}_last": 0.0}, {f"{SPEED}_last, {SPEED}_min"}),
    ({f"{SPEED}_mean": None}, {f"{SPEED}_mean where {SPEED}_count > 0"}),
    ({f"{SPEED}_last": None}, {f"{SPEED}_last where {SPEED}_count > 0"}),
    ({f"{SPEED}_count": 0}, {f"{SPEED}_{name} where {SPEED}_count == 0" for name in ("mean", "last")}),
    ({f"{SPEED}_count": 99}, {f"event_count, {SPEED}_count"}),
    ({"event_count": 1}, {f"event_count, {name}_count" for name in ("vehicle_count", SPEED, "occupancy_ratio")}),
    ({"window_end": START}, {"window_end, window_start"}),
]


def test_each_way_to_break_a_rule_is_found() -> None:
    rows = [plausible_row(HOURLY, number + 2) | changed for number, (changed, _) in enumerate(BROKEN)]
    found = failed(validate(HOURLY, as_arrow(rows)))
    assert all(finding.critical for finding in found)
    for row, (changed, columns) in zip(rows, BROKEN, strict=True):
        named = {f.columns for f in found for key in f.failing_keys if key["sensor_id"] == row["sensor_id"]}
        assert named == columns, changed
    for finding in found:
        assert finding.unexpected_count == len(finding.failing_keys)


def test_every_window_ends_after_it_starts() -> None:
    with_window = {declared.identifier for declared in all_tables() if WINDOW in declared.rules}
    assert with_window == {declared.identifier for declared in all_tables() if declared.tile is not None}


def test_rules_of_the_whole_city() -> None:
    declared = table("gold.city_hourly")
    rows = plausible_rows(declared)
    rows[1] |= {"traffic_event_count": 1, "traffic_sensor_count": 2}
    rows[3] |= {"weather_sensor_count": 0}
    rows[4] |= {"energy_event_count": None}
    rows[6] |= {"traffic_avg_speed_kmh_mean": 2.0}
    assert {finding.columns for finding in failed(validate(declared, as_arrow(rows)))} == {
        "traffic_event_count, traffic_sensor_count",
        "weather_event_count where weather_sensor_count == 0",
        "energy_event_count where energy_sensor_count > 0",
        "traffic_avg_speed_kmh_max, traffic_avg_speed_kmh_mean",
    }


def test_a_rule_of_what_sensors_measure_is_a_warning() -> None:
    declared = table("bronze.traffic_events")
    rows = plausible_rows(declared)
    rows[0] |= {"vehicle_count": 0, SPEED: None}
    rows[1] |= {"vehicle_count": 0, SPEED: 30.0}
    rows[2] |= {"vehicle_count": None, SPEED: 30.0}
    rows[3] |= {"vehicle_count": 4, SPEED: None}
    [found] = failed(report := validate(declared, as_arrow(rows)))
    assert found.columns == "avg_speed_kmh where vehicle_count == 0"
    assert not report.critical
    assert [key["kafka_offset"] for key in found.failing_keys] == [str(rows[1]["kafka_offset"])]


def test_a_zone_that_no_contract_knows_is_a_warning_and_a_family_an_error() -> None:
    declared = table("gold.anomalies")
    rows = plausible_rows(declared)
    rows[1]["zone"] = None
    rows[2]["zone"] = "atlantis"
    report = validate(declared, as_arrow(rows))
    assert [(f.columns, f.unexpected_count) for f in failed(report)] == [("zone", 1)]
    assert failed(report)[0].failing_keys[0]["sensor_id"] == rows[2]["sensor_id"]
    assert not report.critical
    rows[3]["family"] = "tides"
    assert validate(declared, as_arrow(rows)).critical


def test_what_stands_beside_the_contract_of_health_is_checked() -> None:
    declared = table("gold.sensor_health")
    silent = {"event_count": 0, "coverage_ratio": 0.0, "stuck_measure": None, "stuck_s": None}
    undrifted = {"drift_measure": None, "drift_score": None}
    broken: list[tuple[dict[str, Any], set[str]]] = [
        (silent | undrifted, set()),
        (silent | {"coverage_ratio": 0.1}, {"coverage_ratio where event_count == 0"}),
        ({"coverage_ratio": 0.0}, {"coverage_ratio where event_count > 0"}),
        ({"stuck_measure": None}, {"stuck_measure where stuck_s is present"}),
        ({"stuck_s": None}, {"stuck_s where stuck_measure is present"}),
        (silent | {"stuck_measure": "s", "stuck_s": 2000.0}, {"stuck_s where event_count == 0"}),
        ({"drift_score": None}, {"drift_score where drift_measure is present"}),
    ]
    rows = [plausible_row(declared, number + 2) | changed for number, (changed, _) in enumerate(broken)]
    found = failed(validate(declared, as_arrow(rows)))
    for row, (changed, columns) in zip(rows, broken, strict=True):
        named = {f.columns for f in found for key in f.failing_keys if key["sensor_id"] == row["sensor_id"]}
        assert named == columns, changed
    assert all(finding.critical for finding in found)


def test_each_suite_beside_the_contracts_is_of_a_table_and_its_columns() -> None:
    files = sorted(SUITES.iterdir())
    assert files
    for file in files:
        declared = table(file.stem)
        for expectation in hand_written(declared):
            condition = expectation["kwargs"].get("row_condition", {"column": {"name": declared.event_time}})
            for name in (expectation["kwargs"]["column"], condition["column"]["name"]):
                assert declared.column(name)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_file_that_is_no_suite_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / f"{HOURLY.identifier}.json").write_text(text)
    with pytest.raises(SuiteError, match=r"gold\.traffic_hourly\.json is no suite"):
        hand_written(HOURLY, tmp_path)
    assert hand_written(table("gold.traffic_daily"), tmp_path) == []


@pytest.mark.parametrize("declared", all_tables(), ids=lambda declared: declared.identifier)
def test_rules_are_about_columns_that_there_are(declared: Table) -> None:
    named = {*declared.carried, *(name for rule in declared.rules for name in rule.columns)}
    assert named <= {column.name for column in declared.columns}


def test_a_rule_about_what_a_family_does_not_measure_is_refused() -> None:
    for rule in (NotBelow("vehicle_count", "nothing"), Counted("nothing", "vehicle_count")):
        with pytest.raises(ContractError, match="a rule about nothing, which it does not measure"):
            replace(family("traffic"), rules=(rule,))


def test_a_column_that_was_dropped_takes_its_rules_with_it() -> None:
    kept = tuple(column for column in HOURLY.columns if column.name != f"{SPEED}_mean")
    assert failed(validate(replace(HOURLY, columns=kept), as_arrow(plausible_rows(HOURLY)))) == []
    rows = [
        {name: value for name, value in row.items() if name != f"{SPEED}_mean"} for row in plausible_rows(HOURLY)
    ]
    assert failed(validate(replace(HOURLY, columns=kept), as_arrow(rows))) == []


def test_the_rules_of_a_family_hold_for_its_events() -> None:
    traffic = family("traffic")
    assert set(traffic.rules) < set(table("bronze.traffic_events").rules)
    assert [str(rule) for rule in traffic.rules] == ["avg_speed_kmh null where vehicle_count = 0"]
