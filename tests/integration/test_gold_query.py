"""Gold's SQL on Spark, on events whose aggregates are worked out by hand."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import SparkSession

from contracts import bronze_events, family, gold_daily, gold_hourly
from lakehouse_assets.gold.query import windows_query

ENERGY = family("energy")
DAY = datetime(2001, 5, 1, tzinfo=UTC)


def event(number: int, minutes: float, counter: float | None, **others: Any) -> dict[str, Any]:
    return {
        "event_id": str(number),
        "sensor_id": "meter",
        "event_time": DAY + timedelta(minutes=minutes),
        "energy_kwh": counter,
        "kafka_partition": 0,
        "kafka_offset": number,
    } | others


def test_a_counter_grows_from_reading_to_reading_and_from_zero_after_a_reset(session: SparkSession) -> None:
    events = [
        event(0, 0, 100.0),
        event(1, 30, 104.0),
        event(2, 59, None),  # no reading
        event(3, 70, 110.0),  # since 104, whose hour is over
        event(3, 70, 110.0, kafka_offset=9),  # the same again
        event(4, 80, 3.0),  # began anew
        event(5, 75, 112.0, kafka_offset=10),  # came late, but was before
        event(6, 24 * 60, 50.0),  # the next day begins with it
        event(7, 24 * 60 + 1, 51.5),
        event(8, 10, 7.0, sensor_id="other"),
    ]
    columns = {column.name: None for column in bronze_events(ENERGY).columns}
    types = {"string": "string", "double": "double", "timestamp": "timestamp", "int": "int", "long": "bigint"}
    schema = ", ".join(f"{column.name} {types[column.type]}" for column in bronze_events(ENERGY).columns)
    rows = [tuple((columns | row).values()) for row in events]
    session.createDataFrame(rows, schema).createOrReplaceTempView("counter_events")

    def growth(declared: Any) -> dict[tuple[str, datetime], tuple[int, float | None]]:
        found = session.sql(windows_query(declared, "counter_events")).collect()
        return {
            (row.sensor_id, row.window_start.astimezone(UTC)): (row.event_count, row.energy_kwh_increase)
            for row in found
        }

    hour = timedelta(hours=1)
    next_day = DAY + timedelta(days=1)
    assert growth(gold_hourly(ENERGY)) == {
        ("meter", DAY): (3, 4.0),
        ("meter", DAY + hour): (3, 6.0 + 2.0 + 3.0),
        ("meter", next_day): (2, 1.5),
        ("other", DAY): (1, None),
    }
    assert growth(gold_daily(ENERGY)) == {
        ("meter", DAY): (6, 15.0),
        ("meter", next_day): (2, 1.5),
        ("other", DAY): (1, None),
    }
