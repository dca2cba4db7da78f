"""The exported files: deterministic, formatted, free of Dagster, and current or not."""

import ast
import difflib
import json
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from airflow_examples import DAILY_JOB, DAYS, city, definitions, hourly, reports
from typer.testing import CliRunner

from lakehouse_assets.airflow_export import commands
from lakehouse_assets.airflow_export.files import difference, write
from lakehouse_assets.airflow_export.model import AirflowExportError, DaysBack, GroupBy, RunTask, Task
from lakehouse_assets.airflow_export.pools import PoolLimits, pool_limits
from lakehouse_assets.airflow_export.read import read_export
from lakehouse_assets.airflow_export.render import AirflowVersion, dag_file, render
from lakehouse_assets.airflow_export.report import MODULES
from lakehouse_assets.airflow_export.runtime import lakehouse_graphql
from lakehouse_assets.airflow_export.source import Call, Doc, quoted, source
from lakehouse_assets.definitions import defs
from resources.dagster_client import LOCATION, REPOSITORY

ROOT = Path(__file__).resolve().parents[3]
URL = "http://dagster.example"
VERSIONS = list(AirflowVersion)
LONG_ZONE = "America/Argentina/Buenos_Aires"


def files(definition: dg.Definitions, version: AirflowVersion = AirflowVersion.THREE) -> dict[str, str]:
    return render(read_export(definition), version, URL)


REAL = render(read_export(defs, limits=pool_limits()), AirflowVersion.THREE, URL)


def test_two_processes_export_the_same_bytes() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/unit/lakehouse_assets')\n"
        "from test_airflow_files import REAL\nimport json; print(json.dumps(REAL))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "1"}, cwd=ROOT, capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == REAL


@pytest.mark.parametrize(
    ("version", "group_by"),
    [
        (AirflowVersion.TWO, GroupBy.ASSET),
        (AirflowVersion.THREE, GroupBy.ASSET),
        (AirflowVersion.THREE, GroupBy.JOB),
    ],
)
def test_ruff_finds_nothing_to_say_and_nothing_to_format(
    tmp_path: Path, version: AirflowVersion, group_by: GroupBy
) -> None:
    write(render(read_export(defs, group_by=group_by), version, URL), tmp_path)
    # AIR3 is about what Airflow 3 has moved or removed
    rules = "E4,E7,E9,F,I,UP,B,RUF100," + ("AIR" if version is AirflowVersion.THREE else "AIR0")
    assert ruff(tmp_path, "check", "--select", rules) == ""
    assert ruff(tmp_path, "format", "--check") == ""


def test_what_fits_on_no_line_is_formatted_too(tmp_path: Path) -> None:
    [nightly] = [dag for dag in read_export(definitions()).dags if dag.dag_id == "nightly"]
    long = replace(nightly, timezone=LONG_ZONE, tasks=tuple(map(lengthened, nightly.tasks)))
    (tmp_path / "long.py").write_text(dag_file(long, AirflowVersion.THREE))
    assert ruff(tmp_path, "format", "--check") == ""


def ruff(folder: Path, *arguments: str) -> str:
    """What ruff prints with its default configuration; nothing where it finds nothing."""
    done = subprocess.run(
        [Path(sys.executable).parent / "ruff", *arguments, "--isolated", "--no-cache", "."],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout if done.returncode else ""


@pytest.mark.parametrize("version", VERSIONS)
def test_files_import_airflow_and_each_other_only(version: AirflowVersion) -> None:
    allowed = {"airflow", "pendulum", "requests", "asgiref", *(Path(name).stem for name in MODULES)}
    for name, text in files(defs, version).items():
        if not name.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                found = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found = {(node.module or "").split(".")[0]}
            else:
                continue
            assert found <= allowed | sys.stdlib_module_names, name
            assert version is AirflowVersion.THREE or "airflow.sdk" not in ast.unparse(node)


def test_a_new_asset_changes_only_the_lines_that_are_about_it() -> None:
    @dg.asset(key=["gold", "added"], deps=[city], partitions_def=DAYS, pool="gold.added", group_name="gold")
    def added() -> None: ...

    daily = dg.define_asset_job(
        DAILY_JOB.name, selection=dg.AssetSelection.assets(hourly, city, added, *reports.keys)
    )
    before, after = files(definitions()), files(definitions(added, job=daily))
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"nightly.py", "weekly.py", "hourly_run.py", "pools.json", "REPORT.md"}
    assert before.keys() == after.keys()
    lines = [
        line
        for line in difflib.ndiff(before["nightly.py"].splitlines(), after["nightly.py"].splitlines())
        if line[0] in "+-"
    ]
    assert [line for line in lines if line.startswith("-")] == []
    assert lines == [
        "+     gold_added = DagsterRun(",
        '+         task_id="gold.added",',
        '+         job="daily",',
        '+         assets=["gold/added"],',
        "+         days=Days(",
        "+             first=timedelta(days=1),",
        "+             last=timedelta(days=1),",
        '+             timezone="Europe/Berlin",',
        "+         ),",
        "+         run_timeout=timedelta(hours=6),",
        '+         pool="gold.added",',
        '+         owner="dagster",',
        "+         doc_md=dedent(",
        '+             """',
        "+             **gold/added**",
        '+             """',
        "+         ),",
        "+     )",
        "+     gold_city >> gold_added",
    ]


def lengthened(task: Task) -> Task:
    """The task with a name, upstream tasks, days and outlets that fit on no line."""
    if not isinstance(task, RunTask):
        return task
    names = tuple(f"{name}_{'long' * 9}" for name in (*task.upstream, task.task_id, "bronze.events.reaches"))
    return replace(
        task,
        task_id=f"{task.task_id}_{'long' * 9}",
        upstream=names,
        days=DaysBack(timedelta(days=1), timedelta(days=1), LONG_ZONE),
        outlets=names,
        assets=names,
    )


def test_a_folder_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(AirflowExportError, match=r"there is no folder .*export airflow --out"):
        difference(REAL, tmp_path / "none")


def test_a_folder_is_current_until_the_graph_changes(tmp_path: Path) -> None:
    current = files(definitions())
    write(current, tmp_path)
    assert difference(current, tmp_path) == ""
    (tmp_path / "own_dag.py").write_text("# somebody's own\n")
    (tmp_path / "nightly.py").write_text(current["nightly.py"].replace("30 1 * * *", "30 2 * * *"))
    found = difference(current, tmp_path)
    assert '-    schedule=CronDataIntervalTimetable("30 2 * * *"' in found
    assert '+    schedule=CronDataIntervalTimetable("30 1 * * *"' in found
    assert "own_dag" not in found


def test_a_schedule_that_is_gone_takes_its_file_along(tmp_path: Path) -> None:
    current = files(definitions())
    write(current, tmp_path)
    (tmp_path / "own_dag.py").write_text("# somebody's own\n")
    fewer = {name: text for name, text in current.items() if name != "weekly.py"}
    assert "weekly.py" in difference(fewer, tmp_path)
    assert write(fewer, tmp_path) == ["weekly.py"]
    assert (tmp_path / "own_dag.py").exists()
    assert difference(fewer, tmp_path) == ""


def test_the_command_writes_and_checks(tmp_path: Path) -> None:
    folder = tmp_path / "dags"
    run = CliRunner()
    assert run.invoke(commands.app, ["airflow", "--out", str(folder)]).exit_code == 0
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: text.replace(URL, commands.EXAMPLE_URL) for name, text in REAL.items()
    }
    assert run.invoke(commands.app, ["airflow", "--check", str(folder)]).exit_code == 0
    (folder / "pools.json").unlink()
    stale = run.invoke(commands.app, ["airflow", "--check", str(folder)])
    assert isinstance(stale.exception, AirflowExportError)
    assert "+++ exported/pools.json" in stale.output
    assert not (folder / "pools.json").exists()


def test_strict_refuses_and_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "dags"
    outcome = CliRunner().invoke(commands.app, ["airflow", "--out", str(folder), "--strict"])
    assert isinstance(outcome.exception, AirflowExportError)
    assert "sensor late_data" in str(outcome.exception)
    assert "each asset is among them" in str(outcome.exception), (
        "all tables of the platform have a freshness policy"
    )
    assert not folder.exists()


def test_strict_names_a_selection_that_it_exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lakehouse_assets.definitions.defs", definitions())
    strict = ["airflow", "--out", str(tmp_path / "dags"), "--strict"]
    refused = str(CliRunner().invoke(commands.app, strict).exception)
    for named in ("freshness policy bronze/events: ", "sensor watcher: ", "retry policy gold/hourly: "):
        assert named in refused
    [selection] = re.findall(r"--select '(.*)'", refused)
    assert selection == 'key:"gold/city" or key:"report/a" or key:"report/b"'
    assert CliRunner().invoke(commands.app, [*strict, "--select", selection]).exit_code == 0
    assert "Nothing." in (tmp_path / "dags" / "REPORT.md").read_text()


def test_a_task_has_all_that_airflow_is_to_know_of_its_asset() -> None:
    text = files(definitions())["nightly.py"]
    head, _, rest = text.partition("    gold_hourly = ")
    assert 'schedule=CronDataIntervalTimetable("30 1 * * *", timezone="Europe/Berlin")' in head
    assert 'start_date=pendulum.datetime(2023, 1, 1, tz="UTC")' in head
    assert "catchup=False" in head
    assert 'tags=["dagster", "job:daily", "layer:gold"]' in head
    assert '"on_failure_callback": tell_failure' in head
    task, _, gate = rest.partition("    gold_hourly_checks = ")
    for line in (
        "run_timeout=timedelta(hours=6),",
        'pool="gold.hourly",',
        "retries=3,",
        "retry_delay=timedelta(seconds=30),",
        "retry_exponential_backoff=True,",
        'owner="team:gold",',
        "- `speed` (double): Mean speed [km/h]",
    ):
        assert line in task, line
    assert 'outlets=[Asset(name="gold.hourly", uri="lakehouse://gold/hourly")]' in gate
    assert "outlets" not in task
    assert 'checks=["gold/hourly:contract"]' in gate


def test_a_pool_without_a_limit_is_an_infinite_one() -> None:
    limited = render(read_export(definitions(), limits=PoolLimits(2)), AirflowVersion.THREE, URL)
    for text, slots in ((limited["pools.json"], 2), (files(definitions())["pools.json"], -1)):
        assert json.loads(text)["gold.hourly"]["slots"] == slots


def test_one_of_out_and_check_is_needed(tmp_path: Path) -> None:
    for arguments in ([], ["--out", str(tmp_path), "--check", str(tmp_path)]):
        outcome = CliRunner().invoke(commands.app, ["airflow", *arguments])
        assert isinstance(outcome.exception, AirflowExportError)


def test_the_report_names_every_refusal() -> None:
    export = read_export(defs)
    for refusal in export.refusals:
        assert f"  - `{refusal.name}`" in REAL["REPORT.md"]
        assert refusal.reason in REAL["REPORT.md"]


def test_the_report_says_what_airflow_2_cannot_do() -> None:
    for limit in ("**kill**", "**proof**"):
        assert limit in files(definitions(), AirflowVersion.TWO)["REPORT.md"]
    assert "**kill**" not in files(definitions())["REPORT.md"]
    assert "`airflow dags backfill" in files(definitions(), AirflowVersion.TWO)["REPORT.md"]
    assert "`airflow backfill create" in files(definitions())["REPORT.md"]


def test_the_connection_is_an_example_without_a_token() -> None:
    [connection] = json.loads(REAL["connections.example.json"]).values()
    assert connection["password"] == ""
    assert connection["host"] == URL


def test_the_operators_ask_the_code_location_of_the_workspace() -> None:
    assert (lakehouse_graphql.LOCATION, lakehouse_graphql.REPOSITORY) == (LOCATION, REPOSITORY)


@pytest.mark.parametrize(
    "text", ["plain", "it's", 'say "x"', "both ' and \"", "back\\slash", "ümlaut", "new\nline"]
)
def test_quoted_text_reads_back(text: str) -> None:
    assert ast.literal_eval(quoted(text)) == text


@pytest.mark.parametrize("text", ["one", 'ends with "', 'has """ three', "back\\slash", "a\n\nb"])
def test_documentation_reads_back(text: str) -> None:
    from textwrap import dedent

    tree = ast.parse(source(Call("f", {"doc": Doc(text)})), mode="eval")
    assert isinstance(tree.body, ast.Call)
    inner = tree.body.keywords[0].value
    assert isinstance(inner, ast.Call)
    assert dedent(ast.literal_eval(inner.args[0])).strip() == text
