"""A sensor or zone that stands in gold and not below it is named, of the right day."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
from iceberg_on_disk import START, arrow_rows, plausible_row
from pyiceberg.catalog import Catalog

from contracts import all_tables, table
from lakehouse_assets.gold.partitions import range_tags
from lakehouse_assets.gold.reference_check import CHECK_NAME, last_day, reference_checks
from lakehouse_assets.gold.references import newest_day, validate_references

BRONZE, HOURLY, CITY = (
    table(f"{name}") for name in ("bronze.energy_events", "gold.energy_hourly", "gold.city_hourly")
)
DAY = START.date()


def write(catalog: Catalog, identifier: str, *changes: dict[str, Any]) -> None:
    declared = table(identifier)
    rows = [plausible_row(declared, number + 1) | change for number, change in enumerate(changes)]
    catalog.load_table(identifier).append(arrow_rows(catalog, declared, rows))


def evaluate(catalog: Catalog, identifier: str, tags: dict[str, str]) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(dg.AssetKey(identifier.split(".")), CHECK_NAME)
    [check] = [check for check in reference_checks() if key in check.check_keys]
    job = dg.Definitions(
        asset_checks=[check],
        jobs=[dg.define_asset_job("only", dg.AssetSelection.checks(check))],
        resources={"catalog": catalog},
    ).resolve_job_def("only")
    with dg.DagsterInstance.ephemeral() as instance:
        [evaluation] = job.execute_in_process(instance=instance, tags=tags).get_asset_check_evaluations()
    return evaluation


def test_a_sensor_that_bronze_does_not_know_on_that_day_is_named(disk_catalog: Catalog) -> None:
    tomorrow = START + timedelta(days=1)
    write(
        disk_catalog, "bronze.energy_events",
        {"sensor_id": "a", "zone": "north"},
        {"sensor_id": "b", "zone": None},
        {"sensor_id": "ghost", "zone": "north", "event_time": tomorrow},
    )  # fmt: skip
    write(
        disk_catalog, "gold.energy_hourly",
        {"sensor_id": "a", "zone": "north"},
        {"sensor_id": "b", "zone": None},
    )  # fmt: skip
    assert validate_references(disk_catalog, HOURLY, DAY).passed
    write(disk_catalog, "gold.energy_hourly", {"sensor_id": "ghost", "zone": "south"})
    report = validate_references(disk_catalog, HOURLY, DAY)
    assert report.critical
    assert {finding.columns for finding in report.findings if not finding.passed} == {"sensor_id", "zone"}
    assert {key["sensor_id"] for finding in report.findings for key in finding.failing_keys} == {"ghost"}


def test_a_zone_of_the_city_comes_from_any_family(disk_catalog: Catalog) -> None:
    write(disk_catalog, "gold.energy_hourly", {"zone": "north"})
    write(disk_catalog, "gold.traffic_hourly", {"zone": "south"})
    write(disk_catalog, "gold.city_hourly", {"zone": "north"}, {"zone": "south"}, {"zone": None})
    assert validate_references(disk_catalog, CITY, DAY).passed
    write(disk_catalog, "gold.city_hourly", {"zone": "west"})
    [finding] = validate_references(disk_catalog, CITY, DAY).findings
    assert (finding.passed, finding.failing_keys[0]["zone"]) == (False, "west")


def test_the_check_looks_at_the_last_day_of_its_run_else_at_the_newest(disk_catalog: Catalog) -> None:
    assert newest_day(disk_catalog, HOURLY) is None
    assert evaluate(disk_catalog, "gold.energy_hourly", {}).passed
    tomorrow = START + timedelta(days=1)
    write(disk_catalog, "bronze.energy_events", {"sensor_id": "a", "zone": "north"})
    write(disk_catalog, "gold.energy_hourly", {"sensor_id": "a", "zone": "north"})
    write(disk_catalog, "gold.energy_hourly", {"sensor_id": "ghost", "zone": None, "window_start": tomorrow})
    found = evaluate(disk_catalog, "gold.energy_hourly", {})
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.ERROR
    assert found.metadata["rows_checked"].value == str(tomorrow.date())
    assert evaluate(disk_catalog, "gold.energy_hourly", range_tags(DAY, DAY)).passed


def test_the_day_of_a_run() -> None:
    assert last_day({}) is None
    assert last_day({"dagster/partition": "2026-03-01"}) == date(2026, 3, 1)
    assert last_day(range_tags(DAY, date(2026, 3, 2))) == date(2026, 3, 2)


def test_what_is_carried_stands_upstream() -> None:
    for declared in all_tables():
        for upstream in (table(identifier) for identifier in declared.derived_from if declared.carried):
            assert {column.name for column in upstream.columns} >= set(declared.carried)
    assert {declared.name for declared in all_tables() if declared.carried} >= {"city_hourly", "anomalies"}
