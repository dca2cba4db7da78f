"""An Airflow of its own, in the toolchain folder, and a Dagster that is small enough to break."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lakehouse_assets.airflow_export.render import CONNECTION, AirflowVersion
from lakehouse_assets.airflow_export.report import MODULES
from settings.model import ROOT
from stack.toolchain.environments import make_environment

ENVIRONMENTS = {AirflowVersion.TWO: "airflow2", AirflowVersion.THREE: "airflow"}
"""Names of the environments, each of which has a lock."""
SIDE = Path(__file__).with_name("airflow_side.py")
LOCAL_SETTINGS = Path(__file__).with_name("airflow_local_settings.py")
PATIENCE_S = 400
CONNECTION_VARIABLE = "AIRFLOW_CONN_LAKEHOUSE_DAGSTER"


class Airflow:
    """Airflow with a database, DAGs and plugins below ``home``; it knows one Dagster."""

    def __init__(
        self,
        toolchain: Path,
        home: Path,
        dagster_url: str,
        token: str = "",
        version: AirflowVersion = AirflowVersion.THREE,
    ) -> None:
        self.home, self.dags, self._plugins = home, home / "dags", home / "plugins"
        self.python = environment(toolchain, ENVIRONMENTS[version]) / "bin" / "python"
        self.log = home / "log"
        configuration = home / "config"
        for folder in (self.dags, self._plugins, configuration):
            folder.mkdir(parents=True)
        shutil.copy(LOCAL_SETTINGS, configuration)
        self._connection = {"conn_type": "http", "host": dagster_url, "password": token}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            # a writer waits for another, on a busy machine too
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
            CONNECTION_VARIABLE: json.dumps(self._connection),
            # what is logged can be read while it runs
            "PYTHONUNBUFFERED": "1",
        }

    def place(self, files: Mapping[str, str]) -> None:
        """Put exported files where Airflow looks, as their report says."""
        for name, text in files.items():
            folder = self._plugins if name in MODULES else self.dags
            (folder / name).write_text(text)

    def install(self, files: Mapping[str, str]) -> None:
        """Create the database, and put the files where they belong."""
        self.place(files)
        self.command("db", "migrate")
        self.command("pools", "import", str(self.dags / "pools.json"))

    def store_connection(self) -> None:
        """Have the connection in the database, not in the environment of each process."""
        del self.environment[CONNECTION_VARIABLE]
        path = self.home / "connections.json"
        path.write_text(json.dumps({CONNECTION: self._connection}))
        self.command("connections", "import", str(path))

    def parse(self) -> dict[str, Any]:
        """What Airflow makes of the files."""
        return self._side("parse")[0]

    def load(self) -> dict[str, Any]:
        """Whether a task asks a Dagster again that is not there, for each order of the plugins."""
        return self._side("load", str(self._plugins))[0]

    def run(self, dag_id: str, logical_date: str) -> tuple[dict[str, Any], str]:
        """The states of a DAG run, and all that was logged; until it ends, ``log`` has what was logged so far."""
        return self._side("run", dag_id, logical_date)

    def _side(self, *arguments: str) -> tuple[dict[str, Any], str]:
        code, log = self._ended([self.python, SIDE, *arguments])
        assert code == 0, log[-4000:]
        found: dict[str, Any] = json.loads(log.splitlines()[-1])
        return found, log

    def command(self, *arguments: str) -> None:
        """Run a command of Airflow's."""
        code, log = self._ended([self.python, "-m", "airflow", *arguments])
        assert code == 0, log[-4000:]

    def _ended(self, command: list[Any]) -> tuple[int, str]:
        with self.log.open("w") as log:
            done = subprocess.run(
                command,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=PATIENCE_S,
            )
        return done.returncode, self.log.read_text()


def environment(toolchain: Path, name: str) -> Path:
    """An environment of Airflow; made at the first use and when its lock has changed."""
    folder, stamp, lock = toolchain / name, toolchain / f"{name}.lock", ROOT / "locks" / f"{name}.txt"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        make_environment(folder, lock, toolchain)
        stamp.write_bytes(lock.read_bytes())
    return folder
