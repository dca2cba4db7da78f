"""The commands on one table, against a catalog on the disk: what is printed, asked and refused."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pyarrow as pa
import pytest
from click.testing import Result
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import StringType
from typer.testing import CliRunner

import stack.tables
from contracts import ContractError, LakehouseError, table
from resources.catalog import CatalogUnavailableError, ensure_tables
from resources.history import UnknownSnapshotError
from resources.rollback import RollbackError
from stack.errors import StackError
from stack.tables import app

GOLD, BRONZE = table("gold.weather_hourly"), table("bronze.weather_events")
START = datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqlCatalog:
    opened = SqlCatalog("disk", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}")
    ensure_tables(opened, [GOLD, BRONZE], commit_retries=10)
    monkeypatch.setattr(stack.tables, "load_settings", lambda: SimpleNamespace(catalog_uri="disk"))
    monkeypatch.setattr(stack.tables, "open_catalog", lambda _settings: opened)
    return opened


@pytest.fixture
def append(catalog: SqlCatalog) -> Callable[..., str]:
    """Append a row of the day that is counted from the first, and return the id of the snapshot."""

    def append(declared: Any = GOLD, *, day: int = 0, **summary: str) -> str:
        loaded = catalog.load_table(declared.identifier)
        moment = START + timedelta(days=day)
        fill = {"string": "s", "timestamp": moment}
        row = {c.name: fill.get(c.type, 1) for c in declared.columns if not c.nullable}
        rows = pa.Table.from_pylist([row], loaded.schema().as_arrow())
        said = {key.replace("__", ".").replace("_", "-"): value for key, value in summary.items()}
        loaded.append(rows, snapshot_properties=said)
        return str(loaded.metadata.current_snapshot_id)

    return append


def run(*arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=answer)


def answer(*arguments: str) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = orjson.loads(done.stdout.splitlines()[-1])
    return found


def refusal(kind: type[LakehouseError], *arguments: str) -> str:
    done = run(*arguments)
    assert isinstance(done.exception, kind), done.output
    return str(done.exception)


def current(catalog: SqlCatalog) -> str:
    return str(catalog.load_table(GOLD.identifier).metadata.current_snapshot_id)


def test_history_as_a_table_and_as_json(append: Callable[..., str]) -> None:
    job = append(BRONZE, flink__job_id="f00dcafe" * 4, flink__max_committed_checkpoint_id="17")
    run_of = append(lakehouse__run_id="r-1")
    shown = run(BRONZE.identifier, "history").stdout.splitlines()
    assert len(shown) == 2
    cells = re.split(r"\s{2,}", shown[1].strip())
    assert [cells[0], *cells[2:]] == [job, "append +1", "1", "job f00dcafe checkpoint 17", "main"]
    assert answer(BRONZE.identifier, "history")["snapshots"][0]["written_by"]["job_id"] == "f00dcafe" * 4
    assert "run r-1" in run(GOLD.identifier, "history").stdout
    found = answer(GOLD.identifier, "history")
    assert found["table"] == GOLD.identifier
    [entry] = found["snapshots"]
    assert entry["snapshot_id"] == run_of
    assert datetime.fromisoformat(entry["committed_at"]).utcoffset() == timedelta()


def test_history_shows_a_watermark_where_there_is_one_and_what_is_not_in_main(
    catalog: SqlCatalog, append: Callable[..., str]
) -> None:
    first = append()
    assert "watermark" not in run(GOLD.identifier, "history").stdout
    catalog.load_table(GOLD.identifier).manage_snapshots().create_tag(int(first), "v1").commit()
    append(flink__watermark="1709251200000")
    run(GOLD.identifier, "rollback", first, "--yes")
    head, newest, oldest = run(GOLD.identifier, "history").stdout.splitlines()
    assert "watermark" in head
    assert newest.rstrip().endswith("2024-03-01 00:00:00  not in main")
    assert oldest.rstrip().endswith("main, v1 (tag)")


def test_history_of_nothing_and_of_the_newest(append: Callable[..., str]) -> None:
    assert run(GOLD.identifier, "history").stdout == "gold.weather_hourly has no snapshot\n"
    assert answer(GOLD.identifier, "history")["snapshots"] == []
    append()
    newest = append()
    found = answer(GOLD.identifier, "history", "--limit", "1")
    assert [entry["snapshot_id"] for entry in found["snapshots"]] == [newest]


def test_diff_names_columns_and_days(catalog: SqlCatalog, append: Callable[..., str]) -> None:
    first = append()
    with catalog.load_table(GOLD.identifier).update_schema() as update:
        update.rename_column("zone", "area").add_column("quality", StringType())
    second = append(day=2)
    shown = run(GOLD.identifier, "diff", first, "main").stdout.splitlines()
    assert shown[0] == f"{GOLD.identifier} from snapshot {first} to {second}"
    assert shown[1:3] == ["column area renamed: zone -> area", "column quality added: string"]
    assert shown[4].split()[:5] == ["2024-03-03", "1", "0", "0", "1"]
    assert shown[5].split()[:6] == ["whole", "table", "1", "0", "1", "2"]
    assert len(shown) == 6
    found = answer(GOLD.identifier, "diff", first, second)
    assert [day["day"] for day in found["days"]] == ["2024-03-03"]
    assert [file["rows"] for file in found["files_added"]] == [1]
    assert found["only_rewritten"] is False


def test_diff_says_where_nothing_came_or_went(append: Callable[..., str]) -> None:
    only = append()
    assert run(GOLD.identifier, "diff", only, only).stdout.splitlines()[1:] == ["no file was added or removed"]


def test_diff_says_that_only_files_were_rewritten(
    append: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = append(), append()
    real = stack.tables.diff
    # how that is found out is tested with the diff itself
    monkeypatch.setattr(
        stack.tables, "diff", lambda *found: real(*found).model_copy(update={"only_rewritten": True})
    )
    last = run(GOLD.identifier, "diff", first, second).stdout.splitlines()[-1]
    assert last == "only files were rewritten (compaction): the rows are the same"


def test_rollback_with_yes(catalog: SqlCatalog, append: Callable[..., str]) -> None:
    first, second = append(), append()
    found = answer(GOLD.identifier, "rollback", first, "--yes")
    assert found == {
        "table": GOLD.identifier, "was": second, "now": first, "undone": [second], "branches": []
    }  # fmt: skip
    assert current(catalog) == first
    shown = answer(GOLD.identifier, "history")["snapshots"]
    assert [(entry["snapshot_id"], entry["in_main"]) for entry in shown] == [(second, False), (first, True)]


def test_rollback_names_branches_that_are_lost_with_it(catalog: SqlCatalog, append: Callable[..., str]) -> None:
    first, second = append(), append()
    catalog.load_table(GOLD.identifier).manage_snapshots().create_branch(int(second), "run_1").commit()
    shown = run(GOLD.identifier, "rollback", first, "--yes").stdout
    assert f"at snapshot {first} again; it was at {second}" in shown
    assert shown.splitlines()[-1].endswith("run_1")


@pytest.mark.parametrize(("said", "happens"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_a_person_is_asked(
    catalog: SqlCatalog, append: Callable[..., str], monkeypatch: pytest.MonkeyPatch, said: str, happens: bool
) -> None:
    monkeypatch.setattr(stack.tables, "is_interactive", lambda: True)
    first, second = append(), append()
    done = run(GOLD.identifier, "rollback", first, answer=said)
    assert f"from snapshot {second} to {first} of" in done.stderr
    assert "Roll back? [y/N]" in done.stderr
    assert current(catalog) == (first if happens else second)
    assert isinstance(done.exception, StackError) is not happens


def test_what_comes_while_a_person_thinks_is_not_taken_back(
    catalog: SqlCatalog, append: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = append(), append()

    def asked(*_: Any, **__: Any) -> bool:
        append()
        return True

    monkeypatch.setattr(stack.tables, "is_interactive", lambda: True)
    monkeypatch.setattr("typer.confirm", asked)
    assert "changed meanwhile" in refusal(RollbackError, GOLD.identifier, "rollback", first)
    assert catalog.load_table(GOLD.identifier).scan().to_arrow().num_rows == 3


def test_where_nobody_can_be_asked_yes_is_needed(catalog: SqlCatalog, append: Callable[..., str]) -> None:
    first, second = append(), append()
    assert "--yes" in refusal(StackError, GOLD.identifier, "rollback", first)
    assert current(catalog) == second


def test_a_stream_is_refused_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack.tables, "load_settings", lambda: pytest.fail("settings were read"))
    message = refusal(RollbackError, BRONZE.identifier, "rollback", "1", "--yes")
    assert "`./lakehouse audit --repair`" in message


@pytest.mark.parametrize("arguments", [("diff", "main", "7"), ("diff", "7", "main"), ("rollback", "7", "--yes")])
def test_an_unknown_snapshot(append: Callable[..., str], arguments: tuple[str, ...]) -> None:
    append()
    message = refusal(UnknownSnapshotError, GOLD.identifier, *arguments)
    assert "'7'" in message
    assert f"`./lakehouse table {GOLD.identifier} history`" in message


def test_an_unknown_table() -> None:
    assert "gold.weather_hourly" in refusal(ContractError, "gold.nothing", "history")


def test_a_catalog_that_is_away(catalog: SqlCatalog) -> None:
    catalog.drop_table(GOLD.identifier)
    assert "./lakehouse up" in refusal(CatalogUnavailableError, GOLD.identifier, "history")


@pytest.mark.parametrize("verb", ["history", "diff", "rollback"])
def test_the_table_comes_first(verb: str) -> None:
    done = run(verb, GOLD.identifier)
    assert done.exit_code == 2
    assert f"./lakehouse table TABLE {verb}" in done.stderr


def test_help_comes_without_a_stack() -> None:
    shown = run("--help").stdout
    assert all(verb in shown for verb in ("TABLE", "history", "diff", "rollback"))
    assert "--limit" in run("gold.nothing", "history", "--help").stdout
