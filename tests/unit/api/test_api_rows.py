"""Rows against DuckDB, which has the same rows in an Arrow table and never sees Iceberg."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import ArrowScan

from api.rows import service
from api.rows.schemas import rows_model
from contracts import table as contract

TABLE = contract("bronze.traffic_events")
ROWS = f"/v1/tables/{TABLE.identifier}/rows"
COLUMNS = [column.name for column in TABLE.columns]
SQL_OPERATORS = {"eq": "=", "ne": "<>", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
FIRST = datetime(2026, 3, 1, tzinfo=UTC)

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "sensor_id": st.sampled_from(["traffic-0000", "traffic-0003", "traffic-0004", "", "nobody"]),
    "zone": st.sampled_from(["centre", "north", "m", "Über", "Über, 'quoted' \" zone"]),
    "vehicle_count": st.sampled_from([-1, 0, 1, 2, 50, 2**53, 2**53 + 1, 2**63 - 1]),
    "avg_speed_kmh": st.sampled_from([-1.0, 0.0, 0.1, 30.25, 299.99, 1e300]) | st.floats(0, 300),
    "latitude": st.sampled_from([0.0, -0.0, 52.5]),
    "kafka_partition": st.integers(0, 3),
    "kafka_offset": st.integers(0, 150),
    "event_time": st.builds(
        lambda hours, microseconds: FIRST + timedelta(hours=hours, microseconds=microseconds),
        st.integers(-1, 75),
        st.integers(0, 20),
    ),
}


def text(value: object) -> str:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)


@dataclass
class Condition:
    """One filter as a query parameter and as SQL with its arguments."""

    parameter: str
    value: str
    sql: str
    arguments: list[Any]


@st.composite
def boxes(draw: st.DrawFn) -> Condition:
    west, east = draw(st.tuples(*[st.sampled_from([-180.0, -0.0, 0.0, 13.4, 13.5, 170.25, 180.0])] * 2))
    south, north = sorted(draw(st.tuples(*[st.sampled_from([-90.0, -0.0, 0.0, 1e-9, 52.5, 90.0])] * 2)))
    meridians = "longitude >= ? OR longitude <= ?" if west > east else "longitude BETWEEN ? AND ?"
    sql = f"(({meridians}) AND latitude BETWEEN ? AND ?)"
    return Condition("bbox", f"{west},{south},{east},{north}", sql, [west, east, south, north])


@st.composite
def patterns(draw: st.DrawFn) -> Condition:
    column = draw(st.sampled_from(["sensor_id", "zone", "event_id"]))
    found = [
        "",
        "traffic",
        "traffic-000",
        "traffic-0003",
        "c",
        "n",
        "Ü",
        "Über, 'quoted' \" ",
        "event-1",
        "event-41",
    ]
    beginning = draw(st.sampled_from([*found, "%", "_raffic", "\\", "c_ntre"]))
    written = beginning.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    pattern = written + draw(st.sampled_from(["", "%", "%%"]))
    return Condition(f"{column}__like", pattern, f"{column} LIKE ? ESCAPE '\\'", [pattern])


@st.composite
def conditions(draw: st.DrawFn) -> Condition:
    column = draw(st.sampled_from(sorted(VALUES)))
    special = ["in", "between", "is_null", "", "from", "to", "bbox", "like"]
    operator = draw(st.sampled_from([*SQL_OPERATORS, *special]))
    if operator == "is_null":
        wanted = draw(st.booleans())
        return Condition(
            f"{column}__is_null", str(wanted).lower(), f"({column} IS {'' if wanted else 'NOT '}NULL)", []
        )
    if operator in {"from", "to"}:
        time = draw(VALUES["event_time"])
        return Condition(operator, text(time), f"event_time {'>=' if operator == 'from' else '<'} ?", [time])
    if operator in {"bbox", "like"}:
        return draw(boxes() if operator == "bbox" else patterns())
    listed = VALUES[column].filter(lambda value: "," not in text(value))
    if operator == "between":
        values = draw(st.lists(listed, min_size=2, max_size=2))
        return Condition(f"{column}__between", ",".join(map(text, values)), f"{column} BETWEEN ? AND ?", values)
    if operator == "in":
        values = draw(st.lists(listed, min_size=1, max_size=3))
        marks = ", ".join("?" for _ in values)
        return Condition(f"{column}__in", ",".join(map(text, values)), f"{column} IN ({marks})", values)
    value = draw(VALUES[column])
    parameter = f"{column}__{operator}" if operator else column
    return Condition(parameter, text(value), f"{column} {SQL_OPERATORS[operator or 'eq']} ?", [value])


orders = st.lists(st.sampled_from(COLUMNS), max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*(st.sampled_from([name, f"-{name}"]) for name in names))
)


class Oracle:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self._connection = duckdb.connect()
        self._connection.register("events", pa.Table.from_pylist(rows))

    def rows(self, wanted: list[Condition], order: tuple[str, ...], columns: list[str]) -> list[dict[str, Any]]:
        where = " AND ".join(["true", *(condition.sql for condition in wanted)])
        terms = [f"{term.lstrip('-')} {'DESC' if term[0] == '-' else 'ASC'} NULLS LAST" for term in order]
        sql = f"SELECT {', '.join(columns)} FROM events WHERE {where} ORDER BY " + ", ".join([*terms, *TABLE.key])
        arguments = [argument for condition in wanted for argument in condition.arguments]
        return self._connection.sql(sql, params=arguments).to_arrow_table().to_pylist()


@pytest.fixture(scope="module")
def oracle(events: list[list[dict[str, Any]]]) -> Oracle:
    return Oracle([row for rows in events for row in rows])


@pytest.fixture(scope="module", params=[1, 3, service.GROUP_FILES])
def group_files(request: pytest.FixtureRequest) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "GROUP_FILES", request.param)
        yield request.param


def get_rows(client: TestClient, **parameters: Any) -> dict[str, Any]:
    answer = client.get(ROWS, params=parameters)
    assert answer.status_code == 200, answer.text
    parsed = rows_model(TABLE).model_validate_json(answer.content)
    body: dict[str, Any] = answer.json()
    assert len(body["rows"]) == body["row_count"]
    assert all(list(row) == body["columns"] for row in body["rows"])
    body["rows"] = [row.model_dump(exclude_unset=True) for row in parsed.rows]
    return body


def distinct(wanted: list[Condition]) -> list[Condition]:
    return list({condition.parameter: condition for condition in wanted}.values())


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    wanted=st.lists(conditions(), max_size=3).map(distinct),
    shape=st.tuples(orders, st.integers(1, 300), st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True)),
)
@pytest.mark.usefixtures("group_files")
def test_rows_are_those_that_duckdb_finds(
    client: TestClient,
    oracle: Oracle,
    wanted: list[Condition],
    shape: tuple[tuple[str, ...], int, list[str]],
) -> None:
    order, limit, columns = shape
    shown = columns if order else COLUMNS
    parameters = {condition.parameter: condition.value for condition in wanted}
    if order:
        parameters["order"] = ",".join(order)
    answer = get_rows(client, **parameters, limit=limit, columns=",".join(shown))
    expected = oracle.rows(wanted, order, shown)

    assert answer["columns"] == shown
    assert answer["has_more"] == (len(expected) > limit)
    if order:
        assert answer["rows"] == expected[:limit]
    else:
        assert len(answer["rows"]) == min(limit, len(expected))
        found = {row["event_id"]: row for row in answer["rows"]}
        assert len(found) == len(answer["rows"])
        assert found.items() <= {row["event_id"]: row for row in expected}.items()


def test_the_time_range_is_half_open(client: TestClient, oracle: Oracle) -> None:
    times = sorted({row["event_time"] for row in oracle.rows([], (), ["event_time"])})
    answer = get_rows(client, **{"from": text(times[3]), "to": text(times[7])}, order="event_time")
    assert {row["event_time"] for row in answer["rows"]} == set(times[3:7])


def test_an_offset_from_utc_means_the_same_instant(client: TestClient) -> None:
    in_utc = get_rows(client, **{"from": "2026-03-02T10:00:00Z"}, order="event_time", columns="event_id")
    elsewhere = get_rows(client, **{"from": "2026-03-02T15:30:00+05:30"}, order="event_time", columns="event_id")
    assert in_utc["rows"] == elsewhere["rows"] != []


def test_instants_are_utc_with_z_and_microseconds(client: TestClient, oracle: Oracle) -> None:
    row = client.get(ROWS, params={"order": "-event_time", "limit": 1, "columns": "event_time"}).json()["rows"][0]
    newest = max(row["event_time"] for row in oracle.rows([], (), ["event_time"]))
    assert row["event_time"] == newest.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_the_answer_names_its_snapshot(client: TestClient, catalog: SqlCatalog) -> None:
    snapshot = catalog.load_table(TABLE.identifier).current_snapshot()
    assert snapshot is not None
    body = client.get(ROWS, params={"limit": 1}).json()
    assert body["table"] == TABLE.identifier
    assert body["snapshot_id"] == str(snapshot.snapshot_id)
    committed = datetime.fromisoformat(body["committed_at"])
    assert committed.timestamp() * 1000 == pytest.approx(snapshot.timestamp_ms, abs=0.5)


def test_the_default_is_a_hundred_rows_with_all_columns(client: TestClient) -> None:
    body = client.get(ROWS).json()
    assert (body["row_count"], body["has_more"], body["columns"]) == (100, True, COLUMNS)


@pytest.mark.parametrize("order", [None, "-event_time", "sensor_id"])
@pytest.mark.parametrize("columns", [None, "zone"])
def test_all_of_a_query_that_matches_nothing_is_empty(
    client: TestClient, order: str | None, columns: str | None
) -> None:
    parameters = {"order": order, "columns": columns, "sensor_id": "nobody"}
    body = client.get(ROWS, params={name: value for name, value in parameters.items() if value}).json()
    assert (body["rows"], body["row_count"], body["has_more"]) == ([], 0, False)


@pytest.mark.parametrize("order", [None, "-window_start"])
def test_a_table_that_nothing_was_written_to_is_empty(client: TestClient, order: str | None) -> None:
    body = client.get("/v1/tables/gold.traffic_hourly/rows", params={"order": order} if order else {}).json()
    assert body["rows"] == []
    assert body["snapshot_id"] is body["committed_at"] is None
    assert body["has_more"] is False


def test_the_newest_rows_need_only_the_newest_files(
    forgetful: TestClient, catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "GROUP_FILES", 1)
    read: list[str] = []
    to_table = ArrowScan.to_table

    def recording(self: ArrowScan, tasks: Any) -> pa.Table:
        read.extend(task.file.file_path for task in tasks)
        return to_table(self, tasks)

    monkeypatch.setattr(ArrowScan, "to_table", recording)
    get_rows(forgetful, order="-event_time", limit=1)
    files = len(list(catalog.load_table(TABLE.identifier).scan().plan_files()))
    assert 1 <= len(read) < files / 2


def test_values_that_are_not_finite_are_null(client: TestClient, catalog: SqlCatalog) -> None:
    table = catalog.load_table("silver.traffic_1m")
    row: dict[str, Any] = {
        column.name: None if column.nullable else 1 for column in contract("silver.traffic_1m").columns
    }
    row |= {"sensor_id": "traffic-1", "window_start": FIRST, "window_end": FIRST + timedelta(minutes=1)}
    schema = table.schema().as_arrow()
    for sensor, speed in (("traffic-1", float("nan")), ("traffic-2", float("inf")), ("traffic-3", 20.0)):
        row |= {"sensor_id": sensor, "avg_speed_kmh_mean": speed}
        table.append(pa.Table.from_pylist([row], schema=schema))
    body = client.get(
        "/v1/tables/silver.traffic_1m/rows",
        params={"order": "-avg_speed_kmh_mean", "columns": "avg_speed_kmh_mean"},
    ).json()
    assert [list(row.values()) for row in body["rows"]] == [[None], [20.0], [None]]
