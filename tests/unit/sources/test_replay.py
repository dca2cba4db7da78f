"""Files that nobody here made: what they become, and what is said about those that cannot be used."""

import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from contracts import family
from settings import Settings
from sources.errors import InputFileError, OptionError
from sources.replay import DryRun, ReplayOptions, dry_run, run_replay
from sources.replay.reader import EventReader

MAPPING: dict[str, Any] = {
    "missing": ["", "NA"],
    "time": {"columns": "when", "format": "iso8601"},
    "sensor_id": "station-{station}",
    "event_id": {"columns": ["station", "when"]},
    "columns": {
        "zone": {"constant": "north"},
        "temperature_c": {"column": "temp", "unit": "degF"},
        "wind_speed_ms": {"column": "wind", "unit": "mph"},
    },
}
CSV = """station,when,temp,wind
A,2026-11-24T07:00:00Z,50,10
B,2026-11-24T08:00:00+01:00,NA,
A,2026-11-24T07:00:01.5Z,32, 20
"""
EXPECTED = [
    ("station-A", "2026-11-24T07:00:00.000000Z", 10.0, 4.4704),
    ("station-B", "2026-11-24T07:00:00.000000Z", None, None),
    ("station-A", "2026-11-24T07:00:01.500000Z", 0.0, 8.9408),
]

Show = Callable[..., DryRun]


@pytest.fixture
def show(tmp_path: Path) -> Show:
    """Dry run of a file with this content through MAPPING with these changes."""

    def run(content: str | bytes, name: str = "input.csv", limit: int | None = None, **changes: Any) -> DryRun:
        data = tmp_path / name
        data.write_bytes(content.encode() if isinstance(content, str) else content)
        return dry_run(options(data, limit, **changes))

    return run


def options(data: Path, limit: int | None = None, member: str = "weather", **changes: Any) -> ReplayOptions:
    mapping = data.parent / "mapping.yaml"
    mapping.write_text(yaml.safe_dump({**MAPPING, **changes}))
    return ReplayOptions(data, family(member), mapping, limit=limit)


def summary(result: DryRun) -> list[tuple[str, str, float | None, float | None]]:
    events = [json.loads(event) for event in result.events]
    return [
        (
            event["sensor_id"],
            event["event_time"],
            *(rounded(event[name]) for name in ("temperature_c", "wind_speed_ms")),
        )
        for event in events
    ]


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 9) + 0.0


def ids(result: DryRun) -> list[str]:
    return [json.loads(event)["event_id"] for event in result.events]


def times(result: DryRun) -> list[str]:
    return [json.loads(event)["event_time"] for event in result.events]


def ndjson(text: str) -> str:
    rows = [
        {
            name: float(value) if name in {"temp", "wind"} and value not in {"", "NA"} else value or None
            for name, value in row.items()
        }
        for row in csv.DictReader(io.StringIO(text))
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_csv(show: Show) -> None:
    result = show(CSV)
    assert summary(result) == EXPECTED
    assert result.rejected == []
    event = json.loads(result.events[0])
    assert event["zone"] == "north"
    assert event["pressure_hpa"] is None


@pytest.mark.parametrize(
    ("name", "compress"),
    [("a.csv.gz", gzip.compress), ("a.csv.xz", lzma.compress), ("a.CSV.zst", zstandard.compress)],
)
def test_compressed_files(show: Show, name: str, compress: Callable[[bytes], bytes]) -> None:
    assert summary(show(compress(CSV.encode()), name)) == EXPECTED


def test_ndjson(show: Show) -> None:
    assert summary(show(ndjson(CSV), "input.ndjson")) == EXPECTED
    assert summary(show(gzip.compress(ndjson(CSV).encode()), "input.jsonl.gz")) == EXPECTED


def test_parquet_with_typed_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "station": pa.array(["A", "B", "A"]).dictionary_encode(),
            "when": pa.array([1764000000_000, 1764000060_000, None], pa.timestamp("ms", "Europe/Paris")),
            "temp": pa.array([50, None, 32], pa.int16()),
            "wind": pa.array([10.0, float("nan"), 20.0], pa.float32()),
        }
    )
    data = tmp_path / "input.parquet"
    pq.write_table(table, data)
    result = dry_run(options(data, event_id={"row_number": True}))
    assert summary(result) == [("station-A", "2025-11-24T16:00:00.000000Z", 10.0, 4.4704)]
    assert [(row.row, row.column, row.reason) for row in result.rejected] == [
        (2, "wind", "not a number"),
        (3, "when", "no time"),
    ]


def test_formats_give_the_same_identity(show: Show, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(CSV)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "text.parquet")
    from_csv = ids(show(CSV))
    assert ids(show(ndjson(CSV), "input.ndjson")) == from_csv
    assert ids(dry_run(options(tmp_path / "text.parquet"))) == from_csv
    assert len(set(from_csv)) == 3


def test_identity_is_repeatable_and_of_what_was_chosen(show: Show) -> None:
    twice = CSV + CSV.splitlines()[1] + "\n"
    by_columns, by_row = ids(show(twice)), ids(show(twice, event_id={"row_number": True}))
    assert by_columns[0] == by_columns[3]
    assert len(set(by_row)) == 4
    assert ids(show(twice)) == by_columns


@pytest.mark.parametrize(
    ("time", "text", "expected"),
    [
        ({"format": "iso8601", "time_zone": "Europe/Paris"}, "2026-07-01 12:00", "2026-07-01T10:00:00.000000Z"),
        (
            {"format": "iso8601", "time_zone": "Europe/Paris"},
            "2026-07-01T12:00:00Z",
            "2026-07-01T12:00:00.000000Z",
        ),
        ({"format": "%d/%m/%Y %H:%M:%S", "time_zone": "UTC"}, "2/1/2007 03:04:05", "2007-01-02T03:04:05.000000Z"),
        ({"format": "%d.%m.%y %I:%M %p", "time_zone": "UTC"}, "02.01.07 03:04 PM", "2007-01-02T15:04:00.000000Z"),
        ({"format": "%Y-%m-%dT%H:%M:%S.%f%z"}, "2026-07-01T12:00:00.25+0200", "2026-07-01T10:00:00.250000Z"),
        ({"epoch": "s"}, "1764000000", "2025-11-24T16:00:00.000000Z"),
        ({"epoch": "s"}, "1764000000.25", "2025-11-24T16:00:00.250000Z"),
        ({"epoch": "ms"}, "1764000000001", "2025-11-24T16:00:00.001000Z"),
        ({"epoch": "us"}, "1764000000000001", "2025-11-24T16:00:00.000001Z"),
        ({"epoch": "ns"}, "1764000000000001000", "2025-11-24T16:00:00.000001Z"),
        ({"epoch": "s"}, "-1", "1969-12-31T23:59:59.000000Z"),
    ],
)
def test_times(show: Show, time: dict[str, str], text: str, expected: str) -> None:
    result = show(f"when,temp\n{text},50\n", **one_column(time={"columns": "when", **time}))
    assert times(result) == [expected]


@pytest.mark.parametrize(
    ("header", "row", "time_format"),
    [
        ("d,t", "24/3/2007,23:59:58", "%d/%m/%Y %H:%M:%S"),
        ("y,m,d,t", "2007,3,24,23:59:58", "%Y %m %d %H:%M:%S"),
        ("d,h,m,p", "24/3/2007,11,59:58,PM", "%d/%m/%Y %I %M:%S %p"),
        ("t,d", "23:59:58,24/3/2007", "%H:%M:%S %d/%m/%Y"),
    ],
)
def test_time_in_several_columns(show: Show, header: str, row: str, time_format: str) -> None:
    time = {"columns": header.split(","), "format": time_format, "time_zone": "UTC"}
    result = show(f"{header},temp\n{row},50\n", **one_column(time=time))
    assert times(result) == ["2007-03-24T23:59:58.000000Z"]


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)).map(
        lambda m: m.replace(microsecond=0)
    )
)
def test_columns_read_apart_are_what_strptime_reads_together(
    tmp_path_factory: pytest.TempPathFactory, moment: datetime
) -> None:
    folder = tmp_path_factory.mktemp("apart")
    data = folder / "input.csv"
    data.write_text(f"d,t,temp\n{moment:%d/%m/%Y},{moment:%H:%M:%S},50\n")
    time = {"columns": ["d", "t"], "format": "%d/%m/%Y %H:%M:%S", "time_zone": "UTC"}
    read = datetime.fromisoformat(times(dry_run(options(data, **one_column(time=time))))[0])
    assert read == moment.replace(tzinfo=UTC)


def one_column(**changes: Any) -> dict[str, Any]:
    return {
        "sensor_id": "s",
        "event_id": {"row_number": True},
        "columns": {"temperature_c": {"column": "temp", "unit": "degF"}},
        **changes,
    }


def test_clock_changes_as_the_mapping_says(show: Show) -> None:
    text = "when,temp\n2007-03-25 02:30,50\n2007-10-28 02:30,50\n2007-10-28 12:00,50\n"
    time = {"columns": "when", "format": "iso8601", "time_zone": "Europe/Paris"}
    assert times(show(text, **one_column(time=time)))[:2] == [
        "2007-03-25T01:30:00.000000Z",
        "2007-10-28T01:30:00.000000Z",
    ]
    assert (
        times(show(text, **one_column(time={**time, "ambiguous": "earliest"})))[1] == "2007-10-28T00:30:00.000000Z"
    )
    strict = show(text, **one_column(time={**time, "ambiguous": "reject", "nonexistent": "reject"}))
    assert [(row.row, row.reason) for row in strict.rejected] == [
        (2, "is skipped when clocks go forward in Europe/Paris"),
        (3, "occurs twice when clocks go back in Europe/Paris"),
    ]
    assert len(strict.events) == 1


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ("A,2026-11-24T07:00:00Z,warm,10", "temp", "not a number"),
        ("A,2026-11-24T07:00:00Z,inf,10", "temp", "not a number"),
        ("A,2026-11-24T07:00:00Z,nan,10", "temp", "not a number"),
        ("A,2026-11-24T07:00:00Z,1e999,10", "temp", "not a number"),
        ("A,2026-11-24T07:00:00Z,0x10,10", "temp", "not a number"),
        ("A,2026-11-24T07:00:00Z,5 0,10", "temp", "not a number"),
        ("A,2026-11-24T07:00:00Z,500,10", "temp", "outside -60 to 60 degC"),
        ("A,2026-11-24T07:00:00Z,50,-1", "wind", "outside 0 to 120 m/s"),
        ("A,yesterday,50,10", "when", "not a time in the format iso8601"),
        ("A,2026-02-30T07:00:00Z,50,10", "when", "not a time in the format iso8601"),
        ("A,2016-12-31T23:59:60Z,50,10", "when", "not a time in the format iso8601"),
        ("A,2026-11-24T07:00:00,50,10", "when", "neither an offset in the file nor a time_zone in the mapping"),
        ("A,,50,10", "when", "no time"),
        (",2026-11-24T07:00:00Z,50,10", "station", "no value"),
        ("A,2026-11-24T07:00:00Z,50", None, "3 columns instead of 4"),
        ("A,2026-11-24T07:00:00Z,50,10,11", None, "5 columns instead of 4"),
        ('A,2026-11-24T07:00:00Z,"50,10', None, "not a CSV line: unexpected end of data"),
    ],
)
def test_a_broken_row_is_rejected_alone(show: Show, line: str, column: str | None, reason: str) -> None:
    good = CSV.splitlines()
    result = show("\n".join([*good[:2], line, *good[2:]]) + "\n")
    assert summary(result) == EXPECTED
    assert [(row.row, row.column, row.reason) for row in result.rejected] == [(3, column, reason)]


def test_bytes_that_are_no_utf8_cost_their_row_only(show: Show) -> None:
    result = show(CSV.encode() + b"A,2026-11-24T08:00:00Z,\xff\xfe,10\n" + b"A\xff,x,1\n")
    assert summary(result) == EXPECTED
    assert [row.reason for row in result.rejected] == ["not a number", "3 columns instead of 4"]


def test_ways_to_write_csv(show: Show) -> None:
    assert summary(show("\ufeff" + CSV.replace("\n", "\r\n"))) == EXPECTED
    assert summary(show(CSV.rstrip("\n"))) == EXPECTED
    assert (
        summary(show(CSV.replace(",", ";").replace("50", '"50,0"'), csv={"delimiter": ";", "decimal": ","}))
        == EXPECTED
    )
    blank = show(CSV.replace("B,", "\nB,").replace("NA", "warm"))
    assert [row.row for row in blank.rejected] == [4]
    latin = show(
        "stàtion".encode("latin-1") + CSV[7:].encode(),
        sensor_id="station-{stàtion}",
        event_id={"row_number": True},
        csv={"encoding": "latin-1"},
    )
    assert summary(latin) == EXPECTED


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        ("{", None, "not JSON"),
        ("[1]", None, "not a JSON object"),
        ('{"station":"A","when":"2026-11-24T07:00:00Z","temp":{"f":1}}', "temp", "is no single value"),
        (
            '{"station":"A","when":"2026-11-24T07:00:00Z","extra":1}',
            "extra",
            "column is neither mapped nor ignored",
        ),
        ('{"station":"A","when":"2026-11-24T07:00:00Z","temp":"warm"}', "temp", "not a number"),
    ],
)
def test_a_broken_object_is_rejected_alone(tmp_path: Path, line: str, column: str | None, reason: str) -> None:
    data = tmp_path / "input.ndjson"
    # the columns are those of the first block, so the broken object lies beyond it
    good = ndjson(CSV) * 6000
    data.write_text(good + line + "\n\n" + ndjson(CSV))
    mapping = options(data).mapping
    rejected = io.BytesIO()
    reader = EventReader(data, family("weather"), mapping)
    events = sum(len(batch) for batch in reader.records(rejected))
    rows = [json.loads(row) for row in rejected.getvalue().splitlines()]
    assert events == 3 * 6001
    assert reader.rows_read == events + 1
    assert [(row["row"], row["column"]) for row in rows] == [(18_001, column)]
    assert rows[0]["reason"].startswith(reason)


def test_one_percent_broken_rows_of_a_file_of_many_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    lines, broken = [], {}
    for number in range(2, 80_002):
        line = f"A,{datetime.fromtimestamp(1764000000 + number, UTC).isoformat()},{number % 90},1"
        if rng.random() < 0.01:
            kind = int(rng.integers(4))
            line = [line[:9], line.replace(",1", ',"1'), line + ",1", line.replace("A,", "A,x")][kind]
            broken[number] = line
        lines.append(line)
    data = tmp_path / "input.csv"
    data.write_text("station,when,temp,wind\n" + "\n".join(lines))
    assert data.stat().st_size > 2 << 20
    reader = EventReader(data, family("weather"), options(data).mapping)
    rejected = io.BytesIO()
    events = sum(len(batch) for batch in reader.records(rejected))
    rows = [json.loads(row) for row in rejected.getvalue().splitlines()]
    assert [row["row"] for row in rows] == list(broken)
    assert {row["file"] for row in rows} == {str(data)}
    assert events == 80_000 - len(broken)
    assert reader.rows_read == 80_000
    assert sum(reader.rejected_by_reason.values()) == len(broken)


def test_a_row_without_measures_is_an_event_unless_one_is_required(show: Show) -> None:
    assert len(show(CSV).events) == 3
    strict = show(CSV, require_any=True)
    assert len(strict.events) == 2
    assert [(row.row, row.reason) for row in strict.rejected] == [(3, "all measures are missing")]


def test_counts_are_whole_numbers(tmp_path: Path) -> None:
    data = tmp_path / "input.csv"
    data.write_text("when,n\n2026-11-24T07:00:00Z,3\n2026-11-24T07:01:00Z,3.5\n2026-11-24T07:02:00Z,4.0\n")
    columns = {"vehicle_count": {"column": "n", "unit": "count"}}
    result = dry_run(options(data, member="traffic", **one_column(columns=columns)))
    assert [json.loads(event)["vehicle_count"] for event in result.events] == [3, 4]
    assert [row.reason for row in result.rejected] == ["not a whole number"]


def test_a_limit_counts_rows_and_not_events(show: Show) -> None:
    result = show("station,when,temp,wind\nA,x\nA,2026-11-24T07:00:00Z,1,1\nA,2026-11-24T07:00:00Z,1,1\n", limit=2)
    assert (len(result.events), len(result.rejected)) == (1, 1)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("", "a.csv", "is empty"),
        ("\n", "a.csv", "row 1: has no header"),
        ("station,when,temp,wind\n", "a.csv", "has no rows"),
        ("station,when,temp,temp\n1,2,3,4\n", "a.csv", "column 'temp' stands twice"),
        ("station,when,wind\n1,2,3\n", "a.csv", "has no column 'temp'"),
        (CSV.replace("wind", "wind,gust"), "a.csv", "column 'gust' is neither mapped nor listed under ignore"),
        (
            CSV.replace("2026-11-24", "24.11.2026 "),
            "a.csv",
            r"row 2, column when: '24\.11\.2026 T07:00:00Z' not a time",
        ),
        (CSV, "a.xlsx", "the name does not say what it is"),
        (CSV, "a.csv.gz", "cannot be read"),
        (CSV, "a.csv.xz", "cannot be read"),
        (CSV, "a.csv.zst", "cannot be read"),
        (gzip.compress(CSV.encode(), mtime=0)[:-20], "a.csv.gz", "cannot be read"),
        (CSV, "a.parquet", "is no Parquet file"),
        (CSV, "a.parquet.gz", "decompress it first"),
        ("[]\n", "a.ndjson", "row 1: no JSON object"),
        ('{"station":"A","when":"x","temp":1}\n', "a.ndjson", "has no column 'wind'"),
    ],
)
def test_files_that_cannot_be_used(
    tmp_path: Path,
    offline_settings: Settings,
    content: str | bytes,
    name: str,
    message: str,
) -> None:
    data = tmp_path / "in" / name
    data.parent.mkdir()
    data.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputFileError, match=message) as error:
        run_replay(options(data), offline_settings)
    assert str(data) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (offline_settings.home / "ledgers").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputFileError, match="cannot be read"):
            dry_run(ReplayOptions(path, family("weather"), options(tmp_path / "x.csv").mapping))


def test_a_column_of_the_wrong_type(tmp_path: Path) -> None:
    data = tmp_path / "a.parquet"
    moment = pa.array([datetime(2026, 1, 1, tzinfo=UTC)])
    pq.write_table(pa.table({"when": moment, "temp": pa.array([[1]])}), data)
    with pytest.raises(InputFileError, match=r"a\.parquet: column 'temp' is of type list"):
        dry_run(options(data, **one_column()))


def test_options_without_sense_are_refused(tmp_path: Path) -> None:
    data = tmp_path / "a.csv"
    data.write_text(CSV)
    good = options(data)
    for wrong in (
        ReplayOptions(data, good.family, good.mapping, speedup=0),
        ReplayOptions(data, good.family, good.mapping, limit=0),
    ):
        with pytest.raises(OptionError, match="--"):
            dry_run(wrong)
