"""The simulated city: repeatable, within the contract, and with the rhythm of a city."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from contracts import ColumnType, Family, Measure, MeasureKind, families, family
from contracts.tables import event_columns
from settings import Settings
from sources.errors import OptionError
from sources.outgoing import Kind, Outgoing
from sources.simulate import SimulationOptions, run_simulation
from sources.simulate.fleet import build_fleet
from sources.simulate.run import expected_records, family_events, family_schedule

MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
DAY = SimulationOptions(start=MONDAY, end=MONDAY + timedelta(days=1), sensors=10)

PARKING = Family(
    name="parking",
    description="Car parks, which no model knows",
    owners=("team:mobility",),
    zones=("a", "b"),
    measures=(
        Measure("free_spaces", ColumnType.LONG, "Free spaces", unit="1", minimum=0, maximum=500),
        Measure("fee_eur", ColumnType.DOUBLE, "Fee of an hour", unit="EUR", nullable=True, minimum=-5, maximum=-2),
        Measure("entries", ColumnType.LONG, "Entries", unit="1", minimum=10, kind=MeasureKind.COUNTER),
        Measure("unbounded", ColumnType.DOUBLE, "Anything", unit="1"),
    ),
)


def table(options: SimulationOptions, member: Family) -> pa.Table:
    events = family_events(options, member, MONDAY)
    blocks = family_schedule(options, member, MONDAY).blocks()
    assert blocks is not None
    return pa.Table.from_batches([events.batch(number) for number in range(blocks)])


def records(options: SimulationOptions, member: Family) -> list[Outgoing]:
    return list(family_events(options, member, MONDAY).records())


@pytest.mark.parametrize("member", [*families(), PARKING], ids=lambda member: member.name)
def test_values_are_within_the_contract(member: Family) -> None:
    events = table(DAY, member)
    for column in event_columns(member):
        values = events[column.name]
        assert column.nullable or values.null_count == 0
        assert values.null_count < len(values)
        if column.minimum is not None:
            assert pc.min(values).as_py() >= column.minimum
        if column.maximum is not None:
            assert pc.max(values).as_py() <= column.maximum
    assert set(events["zone"].unique().to_pylist()) == set(member.zones)
    assert len(events["event_id"].unique()) == len(events)
    assert events["sensor_id"][0].as_py().startswith(f"{member.name}-000")


@pytest.mark.parametrize("member", [family("energy"), PARKING], ids=lambda member: member.name)
def test_counters_never_fall(member: Family) -> None:
    counters = [measure.name for measure in member.measures if measure.kind is MeasureKind.COUNTER]
    events = table(DAY, member)
    for sensor in build_fleet(member, DAY.sensors, DAY.seed).ids[:5]:
        for counter in counters:
            readings = events.filter(pc.equal(events["sensor_id"], sensor))[counter].drop_null().to_numpy()
            assert (np.diff(readings) >= 0).all()
            assert readings[-1] > readings[0]


def test_a_meter_counts_the_power_that_it_shows() -> None:
    events = table(DAY, family("energy"))
    meter = events.filter(pc.equal(events["sensor_id"], "energy-00007"))
    times = meter["event_time"].cast(pa.int64()).to_numpy() / 3.6e9
    power, reading = (meter[name].to_numpy(zero_copy_only=False) for name in ("active_power_kw", "energy_kwh"))
    known = ~(np.isnan(power) | np.isnan(reading))
    drawn = np.trapezoid(power[known], times[known])
    # drift and hourly steps are within a few per cent
    assert drawn == pytest.approx(reading[known][-1] - reading[known][0], rel=0.05)


def test_the_same_seed_gives_the_same_events_and_another_does_not() -> None:
    member = family("weather")
    first = table(DAY, member)
    assert first.equals(table(DAY, member))
    assert not first.equals(table(replace(DAY, seed=2), member))


def test_faults_do_not_change_the_events_beside_them() -> None:
    member = family("traffic")
    clean = {payload for batch in records(DAY, member) for payload in batch.payloads}
    spoilt = records(replace(DAY, malformed=0.1, late=0.1, duplicates=0.1), member)
    valid = {
        payload
        for batch in spoilt
        for payload, kind in zip(batch.payloads, batch.kinds, strict=True)
        if kind == Kind.VALID
    }
    assert valid < clean


def test_events_come_in_time_order() -> None:
    due = np.concatenate([batch.due for batch in records(DAY, family("traffic"))])
    assert (np.diff(due) >= 0).all()
    assert due[0] >= MONDAY.timestamp() * 1e6
    assert due[-1] < (MONDAY + timedelta(days=1)).timestamp() * 1e6


def test_rush_hours_and_weekends() -> None:
    options = replace(DAY, end=MONDAY + timedelta(days=7))
    events = table(options, family("traffic"))
    hour, day = pc.hour(events["event_time"]), pc.day_of_week(events["event_time"])

    def vehicles(chosen: pa.ChunkedArray) -> int:
        return int(pc.sum(events.filter(chosen)["vehicle_count"]).as_py())

    tuesday = [vehicles(pc.and_(pc.equal(day, 1), pc.equal(hour, number))) for number in range(24)]
    assert tuesday[8] > 3 * tuesday[3]
    assert tuesday[17] > 3 * tuesday[3]
    assert tuesday[8] > vehicles(pc.and_(pc.equal(day, 6), pc.equal(hour, 8)))


def test_fronts_reach_one_zone_after_the_other() -> None:
    options = replace(DAY, end=MONDAY + timedelta(days=3), sensors=10)
    events = table(options, family("weather"))

    def pressure(zone: str) -> np.ndarray:
        chosen = events.filter(pc.and_(pc.equal(events["zone"], zone), pc.is_valid(events["pressure_hpa"])))
        minutes = chosen["event_time"].cast(pa.int64()).to_numpy() // 300_000_000
        values = chosen["pressure_hpa"].to_numpy()
        every = np.arange(minutes.min(), minutes.max() + 1)
        return np.interp(every, minutes, values)

    # the zones opposite one another in the direction that fronts move
    west, east = pressure("airport"), pressure("east")
    length = min(len(west), len(east)) - 12
    shifts = range(-12, 13)
    distance = {
        shift: float(np.mean((west[12 : length - 12] - east[12 + shift : length - 12 + shift]) ** 2))
        for shift in shifts
    }
    assert min(distance, key=distance.__getitem__) != 0


def test_sensors_drop_out_and_come_back() -> None:
    fleet = build_fleet(family("traffic"), 50, seed=1)
    seconds = MONDAY.timestamp() + np.arange(0, 14 * 86_400, 600.0)
    away = np.stack([fleet.silent(np.full(len(seconds), sensor), seconds) for sensor in range(50)])
    assert 0.001 < away.mean() < 0.05
    assert (np.diff(away.astype(int), axis=1) == 1).any()
    assert (np.diff(away.astype(int), axis=1) == -1).any()


def test_sensors_drift_until_they_are_recalibrated() -> None:
    fleet = build_fleet(family("weather"), 200, seed=1)
    days = np.arange(0, 60, 0.5) * 86_400
    drift = np.stack([fleet.drift(np.full(len(days), sensor), days) for sensor in range(200)])
    drifting = drift.any(axis=1)
    assert 0.01 < drifting.mean() < 0.15
    assert (np.diff(drift[drifting], axis=1) < 0).any(axis=1).all()


def test_faults_are_what_they_are_called() -> None:
    member = family("weather")
    options = replace(DAY, malformed=0.05, late=0.02, duplicates=0.09, delay=timedelta(minutes=7))
    batches = records(options, member)
    kinds = Counter(Kind(int(kind)) for batch in batches for kind in batch.kinds)
    total = sum(kinds.values())
    whole = (1 - options.malformed) * (total - kinds[Kind.DUPLICATE])
    assert kinds[Kind.MALFORMED] / (total - kinds[Kind.DUPLICATE]) == pytest.approx(options.malformed, rel=0.1)
    assert kinds[Kind.LATE] / whole == pytest.approx(options.late, rel=0.1)
    assert kinds[Kind.DUPLICATE] / whole == pytest.approx(options.duplicates, rel=0.1)
    broken = set()
    for batch in batches:
        for index, kind in enumerate(batch.kinds):
            payload = batch.payloads[index]
            if kind == Kind.MALFORMED:
                broken.add(payload[:1])
                assert not has_identity_and_time(payload)
                continue
            event = json.loads(payload)
            said = datetime.fromisoformat(event["event_time"]).timestamp() * 1e6
            assert said == pytest.approx(batch.event_time[index], abs=0.5)
            assert batch.keys[index] == event["sensor_id"].encode()
            if kind == Kind.DUPLICATE:
                assert payload == batch.payloads[index - 1]
            else:
                assert batch.due[index] - batch.event_time[index] == (420e6 if kind == Kind.LATE else 0)
    assert len(broken) > 3


def has_identity_and_time(payload: bytes) -> bool:
    try:
        event = json.loads(payload)
        datetime.fromisoformat(event["event_time"])
        return bool(event["event_id"] and event["sensor_id"])
    except (ValueError, TypeError, KeyError):
        return False


def test_a_rate_sets_how_often_sensors_report() -> None:
    options = SimulationOptions(sensors=30, rate=900, duration=timedelta(seconds=10))
    assert expected_records(options) == 9000
    times = family_schedule(options, family("traffic"), MONDAY).block(0)[1]
    assert len(times) == 3000
    assert times[-1] - times[0] < 10_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (SimulationOptions(sensors=0), "--sensors"),
        (SimulationOptions(seed=-1), "--seed"),
        (SimulationOptions(rate=0), "--rate"),
        (SimulationOptions(rate=float("nan")), "--rate"),
        (SimulationOptions(malformed=1.5), "--malformed"),
        (SimulationOptions(start=MONDAY), "--to"),
        (SimulationOptions(start=MONDAY, end=MONDAY), "not after"),
        (SimulationOptions(start=MONDAY, end=datetime(2026, 11, 3)), "time zone"),
        (replace(DAY, duration=timedelta(seconds=1)), "--duration"),
        (SimulationOptions(duration=timedelta(0)), "--duration"),
        (SimulationOptions(late=0.1, delay=timedelta(seconds=10)), "--delay"),
    ],
)
def test_options_without_sense_are_refused(
    options: SimulationOptions, message: str, offline_settings: Settings
) -> None:
    with pytest.raises(OptionError, match=message):
        run_simulation(options, offline_settings)
    assert list(offline_settings.home.iterdir()) == []
