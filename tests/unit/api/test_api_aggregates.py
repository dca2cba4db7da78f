"""Aggregates against pandas, or DuckDB, which have the same rows and never see Iceberg."""

import io
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import ArrowScan

from tests.unit.api.conftest import START, TABLE
from tests.unit.api.test_api_rows import Condition, conditions, distinct

PATH = f"/v1/tables/{TABLE}/aggregate"
NUMBERS = ["vehicle_count", "avg_speed_kmh", "latitude", "occupancy_ratio"]
BUCKETS = {"6h": "6h", "25h": "25h", "1d": "1D", "7d": "7D"}


@pytest.fixture(scope="module")
def frame(events: list[list[dict[str, Any]]]) -> pd.DataFrame:
    # nullable types, because a whole number beyond 2^53 is no double
    return pa.Table.from_pylist([row for rows in events for row in rows]).to_pandas(
        types_mapper={pa.int64(): pd.Int64Dtype(), pa.float64(): pd.Float64Dtype()}.get
    )


def get(client: TestClient, **parameters: Any) -> dict[str, Any]:
    answer = client.get(PATH, params=parameters)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    assert len(body["rows"]) == body["row_count"]
    assert all(list(row) == body["columns"] for row in body["rows"])
    return body


def expected_value(rows: pd.DataFrame, measure: str) -> Any:
    if measure == "count":
        return len(rows)
    function, column = measure.removesuffix(")").split("(")
    values = rows[column].dropna()
    if function == "count":
        return len(values)
    if values.empty:
        return None
    if function == "last":
        return rows.loc[values.index].sort_values("event_time")[column].iloc[-1]
    if function.startswith("p"):
        return values.astype(float).quantile(float(function[1:]) / 100)
    return values.astype(float).mean() if function == "avg" else getattr(values, function)()


measures = st.lists(
    st.one_of(
        st.just("count"),
        st.builds("{}({})".format, st.sampled_from(["count", "min", "max"]), st.sampled_from([*NUMBERS, "zone"])),
        st.builds(
            "{}({})".format, st.sampled_from(["sum", "avg", "p50", "p95", "p12.5"]), st.sampled_from(NUMBERS)
        ),
    ),
    min_size=1,
    max_size=4,
    unique=True,
)


@hypothesis_settings(max_examples=50, deadline=None)
@given(
    asked=measures,
    group_by=st.lists(st.sampled_from(["zone", "sensor_id", "kafka_partition"]), max_size=2, unique=True),
    bucket=st.sampled_from([None, *BUCKETS]),
    sensor=st.sampled_from([None, "traffic-0003", "nobody"]),
)
def test_groups_are_those_of_pandas(
    client: TestClient,
    frame: pd.DataFrame,
    *,
    asked: list[str],
    group_by: list[str],
    bucket: str | None,
    sensor: str | None,
) -> None:
    parameters = {"measures": ",".join(asked)}
    parameters |= {"group_by": ",".join(group_by)} if group_by else {}
    parameters |= {"time_bucket": bucket} if bucket else {}
    parameters |= {"sensor_id": sensor} if sensor else {}
    found = get(client, **parameters)["rows"]

    rows = frame if sensor is None else frame[frame["sensor_id"] == sensor]
    keys = [*(["bucket"] if bucket else []), *group_by]
    if bucket:
        # 2000-01-03 is a Monday; widths that divide a day begin at midnight, others there
        width = pd.Timedelta(BUCKETS[bucket])
        origin = pd.Timestamp("2000-01-03", tz="UTC")
        rows = rows.assign(bucket=origin + (rows["event_time"] - origin) // width * width)
    groups = rows.groupby(keys, dropna=False) if keys else [((), rows)]
    expected = {}
    for key, group in groups:
        names = tuple(None if pd.isna(part) else part for part in key)
        expected[names] = [expected_value(group, each) for each in asked]

    actual = {}
    for row in found:
        values = list(row.values())
        if bucket:
            values[0] = pd.Timestamp(values[0])
        actual[tuple(values[: len(keys)])] = values[len(keys) :]
    assert actual.keys() == expected.keys()
    for key, values in expected.items():
        for value, wanted in zip(actual[key], values, strict=True):
            if isinstance(wanted, float):
                assert value == pytest.approx(wanted, rel=1e-9, abs=1e-9)
            else:
                assert value == wanted
    buckets = [row["bucket"] for row in found] if bucket else []
    assert buckets == sorted(buckets)


@hypothesis_settings(max_examples=60, deadline=None)
@given(wanted=st.lists(conditions(), min_size=1, max_size=3).map(distinct))
def test_filters_keep_the_rows_that_duckdb_keeps(
    client: TestClient, events: list[list[dict[str, Any]]], wanted: list[Condition]
) -> None:
    measures = "count,count(zone),min(kafka_offset),max(event_time)"
    parameters = {condition.parameter: condition.value for condition in wanted}
    found = get(client, measures=measures, group_by="sensor_id", **parameters)["rows"]
    counted = get(client, measures="count", **parameters)["rows"]

    database = duckdb.connect()
    database.register("events", pa.Table.from_pylist([row for rows in events for row in rows]))
    where = " AND ".join(condition.sql for condition in wanted)
    arguments = [argument for condition in wanted for argument in condition.arguments]
    expected = database.sql(
        "SELECT sensor_id, count(*), count(zone), min(kafka_offset), timezone('UTC', max(event_time)) "
        f"FROM events WHERE {where} GROUP BY sensor_id ORDER BY sensor_id",
        params=arguments,
    ).fetchall()
    instants = [datetime.fromisoformat(row["max_event_time"]).replace(tzinfo=None) for row in found]
    rows = [(*list(row.values())[:-1], instant) for row, instant in zip(found, instants, strict=True)]
    assert rows == expected
    assert counted == [{"count": sum(count for _, count, *_ in expected)}]


def test_the_last_value_is_that_of_the_newest_row_that_has_one(client: TestClient, frame: pd.DataFrame) -> None:
    found = get(client, measures="last(avg_speed_kmh),max(event_time)", group_by="sensor_id")["rows"]
    assert len(found) == frame["sensor_id"].nunique()
    for row in found:
        rows = frame[(frame["sensor_id"] == row["sensor_id"])]
        with_value = rows.dropna(subset=["avg_speed_kmh"])
        newest = with_value[with_value["event_time"] == with_value["event_time"].max()]
        assert row["last_avg_speed_kmh"] in set(newest["avg_speed_kmh"])
        assert pd.Timestamp(row["max_event_time"]) == rows["event_time"].max()


def test_a_limit_says_that_there_are_more(client: TestClient) -> None:
    body = get(client, group_by="sensor_id", limit=2)
    assert (body["row_count"], body["has_more"]) == (2, True)
    assert [row["sensor_id"] for row in body["rows"]] == ["traffic-0000", "traffic-0001"]


def test_nothing_written_is_one_group_of_nothing(client: TestClient) -> None:
    answer = client.get("/v1/tables/gold.traffic_hourly/aggregate", params={"measures": "count,max(event_count)"})
    assert answer.json()["rows"] == [{"count": 0, "max_event_count": None}]
    by_zone = client.get("/v1/tables/gold.traffic_hourly/aggregate", params={"group_by": "zone"})
    assert by_zone.json()["rows"] == []


def test_only_files_of_the_days_asked_for_are_read(forgetful: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    columns: set[str] = set()
    to_table = ArrowScan.to_table

    def recording(self: ArrowScan, tasks: Any) -> pa.Table:
        found = list(tasks)
        read.extend(task.file.file_path for task in found)
        rows = to_table(self, found)
        columns.update(rows.column_names)
        return rows

    monkeypatch.setattr(ArrowScan, "to_table", recording)
    everything = get(forgetful, measures="avg(vehicle_count)")
    all_files = set(read)
    read.clear()
    columns.clear()
    get(
        forgetful,
        measures="avg(vehicle_count)",
        **{"from": (START + timedelta(days=2)).strftime("%Y-%m-%dT00:00:00Z")},
    )
    assert 0 < len(set(read)) < len(all_files)
    assert columns == {"vehicle_count", "event_time"}
    assert everything["row_count"] == 1


def test_a_count_of_whole_days_reads_no_file(
    forgetful: TestClient, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = START + timedelta(days=1)
    inside = (frame["event_time"] >= second) & (frame["event_time"] < second + timedelta(days=1))
    days = {"from": second.isoformat(), "to": (second + timedelta(days=1)).isoformat()}
    later = {"from": (second + timedelta(hours=7)).isoformat()}
    after = frame["event_time"] >= second + timedelta(hours=7)
    in_centre = frame["zone"] == "centre"
    assert 0 < inside.sum() < len(frame)
    for filters, expected in [(later, after.sum()), ({**days, "zone": "centre"}, (inside & in_centre).sum())]:
        assert get(forgetful, measures="count", **filters)["rows"] == [{"count": expected}]
    monkeypatch.setattr(ArrowScan, "to_table", lambda *_: pytest.fail("a file was read"))
    assert get(forgetful, measures="count")["rows"] == [{"count": len(frame)}]
    assert get(forgetful, **days)["rows"] == [{"count": inside.sum()}]


def test_formats_and_etags_are_those_of_rows(client: TestClient) -> None:
    asked = {"measures": "count", "group_by": "zone", "time_bucket": "1d"}
    expected = get(client, **asked)["rows"]
    answer = client.get(PATH, params=asked, headers={"Accept": "application/vnd.apache.arrow.stream"})
    rows = pa.ipc.open_stream(answer.content).read_all()
    assert rows.schema.field("bucket").type == pa.timestamp("us", tz="UTC")
    assert [row["count"] for row in rows.to_pylist()] == [row["count"] for row in expected]
    csv = client.get(PATH, params={**asked, "format": "csv"})
    assert list(pd.read_csv(io.BytesIO(csv.content))["count"]) == [row["count"] for row in expected]
    tag = client.get(PATH, params=asked).headers["ETag"]
    assert tag != client.get(f"/v1/tables/{TABLE}/rows").headers["ETag"]
    assert client.get(PATH, params=asked, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"measures": "median(vehicle_count)"}, "no measure"),
        ({"measures": "sum(zone)"}, "needs a number"),
        ({"measures": "p50(event_time)"}, "needs a number"),
        ({"measures": "p100(vehicle_count)"}, "no measure"),
        ({"measures": "avg(nothing)"}, "no column"),
        ({"measures": "count,count"}, "twice"),
        ({"measures": ""}, "no measure"),
        ({"measures": 'avg("vehicle_count")'}, "no measure"),
        ({"measures": "count) FROM rows; DROP TABLE rows; --"}, "no measure"),
        ({"group_by": "nothing"}, "no column"),
        ({"group_by": "zone,zone"}, "twice"),
        ({"time_bucket": "1 hour"}, "no width"),
        ({"time_bucket": "0h"}, "no width"),
        ({"time_bucket": "1w"}, "no width"),
        ({"order": "zone"}, "unknown parameter"),
        ({"zone__no": "x"}, "unknown parameter"),
        ({"as_of": "?"}, "neither"),
    ],
)
def test_what_cannot_be_aggregated_says_what_can(
    client: TestClient, parameters: dict[str, str], says: str
) -> None:
    answer = client.get(PATH, params=parameters)
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_more_groups_than_memory_are_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.aggregates.service.MEMORY_LIMIT", "1MB")
    answer = client.get(
        PATH, params={"group_by": "event_id,event_time,sensor_id", "measures": "p50(vehicle_count)"}
    )
    assert answer.status_code == 422
    assert "group by fewer columns" in answer.json()["detail"]
