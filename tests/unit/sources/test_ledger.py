"""The ledger and the account that it is written from."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.delivery import Deliveries, MinuteCounts, ledger_of
from sources.errors import SourceError
from sources.ledger import Ledger
from sources.outgoing import Kind

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
micros = st.integers(min_value=-(10**15), max_value=4 * 10**15)


class Report:
    """What the client says about one record."""

    def __init__(self, partition: int, offset: int) -> None:
        self._place = partition, offset

    def partition(self) -> int:
        return self._place[0]

    def offset(self) -> int:
        return self._place[1]


@given(st.lists(st.lists(micros, max_size=20), max_size=5), st.lists(micros, max_size=5))
def test_minutes_are_counted_as_by_hand(batches: list[list[int]], taken_back: list[int]) -> None:
    counts = MinuteCounts()
    for batch in batches:
        counts.add(np.array(batch, dtype=np.int64))
    counts.add(np.array(taken_back, dtype=np.int64))
    counts.add(np.array(taken_back, dtype=np.int64), sign=-1)
    expected = Counter(
        (EPOCH + timedelta(microseconds=time)).strftime("%Y-%m-%dT%H:%MZ") for batch in batches for time in batch
    )
    assert counts.as_dict() == dict(sorted(expected.items()))


def test_acknowledgements_are_counted_by_kind_and_partition() -> None:
    account = Deliveries("sensors.weather")
    for offset in (5, 6):
        account.callbacks[Kind.VALID](None, Report(0, offset))
    account.settle()
    account.callbacks[Kind.DUPLICATE](None, Report(0, 7))
    account.callbacks[Kind.MALFORMED](None, Report(3, 1))
    account.settle()
    account.settle()
    ledger = ledger_of(account, kind="simulate", family="weather", source="", started=EPOCH, sent_all=True)
    assert ledger.acknowledged == 4
    assert ledger.by_kind.model_dump() == {"valid": 2, "late": 0, "duplicate": 1, "malformed": 1}
    assert ledger.distinct_events == 2
    assert {number: tuple(part.model_dump().values()) for number, part in ledger.partitions.items()} == {
        0: (3, 5, 7),
        3: (1, 1, 1),
    }


def test_a_ledger_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    account = Deliveries("sensors.weather")
    ledger = ledger_of(account, kind="replay", family="weather", source="x.csv", started=EPOCH, sent_all=True)
    ledger.events_by_minute = {"2026-11-24T07:00Z": 3}
    path = tmp_path / "new" / "ledger.json"
    ledger.save(path)
    assert Ledger.load(path) == ledger
    assert [file.name for file in path.parent.iterdir()] == ["ledger.json"]


def test_what_is_no_ledger_says_so_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.json"
    for content in (b"", b"{}", b"[1]"):
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"ledger\.json: is no ledger") as error:
            Ledger.load(path)
        assert "\n" not in str(error.value)
    with pytest.raises(SourceError, match="cannot be read"):
        Ledger.load(tmp_path / "missing.json")
