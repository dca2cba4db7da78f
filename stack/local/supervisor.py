"""Runs the services under supervisord, which restarts what dies; talks to it by XML-RPC on a Unix socket."""

import http.client
import os
import re
import shutil
import subprocess
import xmlrpc.client
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import psutil
from supervisor.xmlrpc import SupervisorTransport

from settings import Settings
from settings.model import ROOT
from stack.errors import StackError
from stack.local import supervisord
from stack.local.files import write_private
from stack.local.priority import BACKGROUND, BACKGROUND_SESSION, giving_way
from stack.local.processes import SUPERVISOR, mark
from stack.local.service import Service

SOCKET_PATH_LIMIT = 100
"""``sun_path`` holds 104 to 108 bytes, depending on the system."""

_EXITED = re.compile(r"exited: (\S+) \(([^)]*)\)")


class Supervisor:
    """The supervisord of one home folder."""

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self._toolchain = settings.toolchain
        self._run = settings.home / "run"
        self._logs = settings.home / "logs"
        self._socket = self._run / "supervisor.sock"

    def log_file(self, service: str) -> Path:
        """Where the output of the service goes."""
        return self._logs / f"{service}.log"

    def is_running(self) -> bool:
        """Whether this home's supervisord answers."""
        try:
            self._rpc().supervisor.getState()
        except (OSError, http.client.HTTPException):
            return False
        return True

    def start(self, services: Sequence[Service]) -> None:
        """Start supervisord with every service declared and none started.

        Raises:
            StackError: the socket's path is too long for the system, or supervisord does not start.
        """
        if len(str(self._socket)) > SOCKET_PATH_LIMIT:
            raise StackError(f"{self._socket} is too long for a socket: set LAKEHOUSE_HOME to a shorter path")
        self._run.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        (self._logs / "supervisord.log").unlink(missing_ok=True)  # restarts are counted from this start
        configuration = write_private(self._run / "supervisord.conf", self._configuration(services))
        python = self._toolchain / "main" / "bin" / "python"
        command: list[str | Path] = [python, "-m", supervisord.__name__, "-c", configuration]
        environment = os.environ | mark(self._home, SUPERVISOR)
        started = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
        if started.returncode:
            raise StackError(f"the supervisor did not start: {started.stderr.strip() or started.stdout.strip()}")

    def start_service(self, name: str) -> None:
        """Start the service unless it runs."""
        self._process_call("startProcess", name, ignore="ALREADY_STARTED")

    def start_services(self, names: Sequence[str]) -> None:
        """Start the services that do not run, all at once: each call lasts until its process has stayed up."""
        with ThreadPoolExecutor(len(names)) as pool:
            for _ in pool.map(self.start_service, names):
                pass

    def stop_service(self, name: str) -> None:
        """Stop the service and wait until it has ended."""
        self._process_call("stopProcess", name, ignore="NOT_RUNNING")

    def processes(self) -> list[dict[str, Any]]:
        """What supervisord knows of each service: ``name``, ``statename``, ``pid``, ``start``, ``spawnerr``."""
        return cast(list[dict[str, Any]], self._rpc().supervisor.getAllProcessInfo())

    def pid(self, name: str) -> int | None:
        """The process of the service; ``None`` while it does not run."""
        return next((info["pid"] or None for info in self.processes() if info["name"] == name), None)

    def exits(self) -> dict[str, list[str]]:
        """Reason of each unexpected end since the start, by service."""
        log = self._logs / "supervisord.log"
        found: dict[str, list[str]] = {}
        for name, reason in _EXITED.findall(log.read_text(errors="replace") if log.exists() else ""):
            found.setdefault(name, []).append(reason)
        return found

    def shut_down(self) -> None:
        """End supervisord and wait for it."""
        process = psutil.Process(cast(int, self._rpc().supervisor.getPID()))
        self._rpc().supervisor.shutdown()
        process.wait(timeout=60)

    def clear(self) -> None:
        """Remove the run folder: socket, pid file and configuration."""
        shutil.rmtree(self._run, ignore_errors=True)

    def _rpc(self) -> xmlrpc.client.ServerProxy:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)

    def _process_call(self, method: str, name: str, *, ignore: str) -> None:
        try:
            getattr(self._rpc().supervisor, method)(name)
        except xmlrpc.client.Fault as fault:
            if not fault.faultString.startswith(ignore):
                raise StackError(f"{name}: {fault.faultString}; see ./lakehouse logs {name}") from fault

    def _configuration(self, services: Sequence[Service]) -> str:
        sections: dict[str, Mapping[str, object]] = {
            "supervisord": {
                "logfile": self._logs / "supervisord.log",
                "pidfile": self._run / "supervisord.pid",
                "childlogdir": self._logs,
                "directory": ROOT,
                "umask": "077",
            },
            "unix_http_server": {"file": self._socket, "chmod": "0700"},
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
            },
        }
        for service in services:
            sections[f"program:{service.name}"] = self._program(service)
        lines = []
        for section, options in sections.items():
            lines.append(f"[{section}]")
            lines += [f"{name} = {str(value).replace('%', '%%')}" for name, value in options.items()]
        return "\n".join(lines) + "\n"

    def _program(self, service: Service) -> Mapping[str, object]:
        environment = {
            **service.environment,
            **mark(self._home, service.name),
            "LAKEHOUSE_TOOLCHAIN": str(self._toolchain),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        if service.nice >= BACKGROUND:
            environment[supervisord.SESSION_NICE] = str(BACKGROUND_SESSION)
        command = giving_way(service.command, service.nice) if service.nice else service.command
        return {
            "command": " ".join(_quote(word) for word in command),
            "environment": ",".join(f"{name}={_quote(value)}" for name, value in environment.items()),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 1,
            "startretries": 20,
            "stopwaitsecs": service.stop_seconds,
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": self.log_file(service.name),
            "stdout_logfile_maxbytes": "20MB",
            "stdout_logfile_backups": 2,
        }


def _quote(word: str) -> str:
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
