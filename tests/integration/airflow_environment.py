"""An Airflow of its own, in the toolchain folder, and a Dagster that is small enough to break."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from settings.model import ROOT
from stack.toolchain.environments import make_environment

LOCK = ROOT / "locks" / "airflow.txt"
SIDE = Path(__file__).with_name("airflow_side.py")
PATIENCE_S = 400


class Airflow:
    """Airflow with a database and a DAGs folder below ``home``; it knows one Dagster."""

    def __init__(self, toolchain: Path, home: Path, dagster_url: str, token: str = "") -> None:
        self._python = environment(toolchain) / "bin" / "python"
        self.dags = home / "dags"
        self.log = home / "log"
        self.dags.mkdir(parents=True)
        connection = {"conn_type": "http", "host": dagster_url, "password": token}
        self._environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW_CONN_LAKEHOUSE_DAGSTER": json.dumps(connection),
            # as Airflow itself does with its DAGs folder
            "PYTHONPATH": str(self.dags),
            # what is logged can be read while it runs
            "PYTHONUNBUFFERED": "1",
        }

    def install(self, files: dict[str, str]) -> None:
        """Put exported files where Airflow looks, as their report says."""
        for name, text in files.items():
            (self.dags / name).write_text(text)
        self._airflow("db", "migrate")
        self._airflow("pools", "import", str(self.dags / "pools.json"))

    def parse(self) -> dict[str, Any]:
        """What Airflow makes of the files."""
        return self._side("parse")[0]

    def run(self, dag_id: str, logical_date: str) -> tuple[dict[str, Any], str]:
        """The states of a DAG run, and all that was logged; until it ends, ``log`` has what was logged so far."""
        return self._side("run", dag_id, logical_date)

    def _side(self, *arguments: str) -> tuple[dict[str, Any], str]:
        code, log = self._ended([self._python, SIDE, *arguments])
        assert code == 0, log[-4000:]
        found: dict[str, Any] = json.loads(log.splitlines()[-1])
        return found, log

    def _airflow(self, *arguments: str) -> None:
        code, log = self._ended([self._python, "-m", "airflow", *arguments])
        assert code == 0, log[-4000:]

    def _ended(self, command: list[Any]) -> tuple[int, str]:
        with self.log.open("w") as log:
            done = subprocess.run(
                command,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=PATIENCE_S,
            )
        return done.returncode, self.log.read_text()


def environment(toolchain: Path) -> Path:
    """The environment of Airflow; made at the first use and when its lock has changed."""
    folder, stamp = toolchain / "airflow", toolchain / "airflow.lock"
    if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
        make_environment(folder, LOCK, toolchain)
        stamp.write_bytes(LOCK.read_bytes())
    return folder
