"""Jars are fetched once, resumed and verified; Java is recognised by its version."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from stack.errors import StackError
from stack.toolchain import jars
from stack.toolchain.java import find_java, java_version

CONTENT = bytes(range(256)) * 4096
QUIET = Console(quiet=True)


class Repository(ThreadingHTTPServer):
    """A repository that breaks off the first answer in its middle and notes what it is asked."""

    ranges: list[str | None]
    content: bytes


class Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        body = self.server.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if len(self.server.ranges) > 1 else body[: len(body) // 2])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Repository]:
    server = Repository(("127.0.0.1", 0), Handler)
    server.ranges, server.content = [], CONTENT
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("LAKEHOUSE_MAVEN_REPOSITORY", f"http://127.0.0.1:{server.server_port}")
    lock = tmp_path / "jars.txt"
    lock.write_text(f"# comment\nkafka org.example:thing:1.0 {hashlib.sha256(CONTENT).hexdigest()}\n")
    monkeypatch.setattr(jars, "LOCK_FILE", lock)
    monkeypatch.setattr(jars, "read_lock", lambda: READ_LOCK(lock))
    yield server
    server.shutdown()
    server.server_close()


READ_LOCK = jars.read_lock


def test_an_interrupted_download_is_resumed_and_happens_once(repository: Repository, tmp_path: Path) -> None:
    toolchain = tmp_path / "toolchain"
    jars.fetch_jars(toolchain, QUIET)
    assert (toolchain / "jars" / "kafka" / "thing-1.0.jar").read_bytes() == CONTENT
    first, second = repository.ranges
    assert first is None
    assert second is not None
    assert second.startswith("bytes=")
    jars.fetch_jars(toolchain, QUIET)
    assert len(repository.ranges) == 2


def test_a_jar_that_is_not_the_pinned_one_is_refused(repository: Repository, tmp_path: Path) -> None:
    repository.content = CONTENT[:-1] + b"!"
    with pytest.raises(jars.ChecksumError, match="is not the pinned file"):
        jars.fetch_jars(tmp_path / "toolchain", QUIET)
    assert list((tmp_path / "toolchain").rglob("*.jar")) == []


def test_a_repository_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAKEHOUSE_MAVEN_REPOSITORY", "http://127.0.0.1:1")
    monkeypatch.setattr(jars._download.retry, "stop", lambda _: True)
    with pytest.raises(StackError, match="LAKEHOUSE_MAVEN_REPOSITORY to a mirror; start again to resume"):
        jars.fetch_jars(tmp_path, QUIET)


def test_the_lock_pins_every_jar() -> None:
    pinned = jars.read_lock()
    assert {jar.group_name for jar in pinned} == {"compiler", "kafka", "flink", "flink-plugins", "spark"}
    assert all(len(jar.sha256) == 64 for jar in pinned)
    assert len({(jar.group_name, jar.file_name) for jar in pinned}) == len(pinned)


def fake_java(folder: Path, release: str) -> Path:
    (folder / "bin").mkdir(parents=True)
    java = folder / "bin" / "java"
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    (folder / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{release}"\n')
    return folder


@pytest.mark.parametrize("name", ["cluster", "dev"])
def test_other_environments_have_what_the_main_one_has_in_the_same_versions(name: str) -> None:
    def pins(lock: str) -> set[str]:
        lines = (jars.ROOT / "locks" / f"{lock}.txt").read_text().splitlines()
        return {line.removesuffix("\\").strip() for line in lines if "==" in line}

    assert pins("main")
    assert pins("main") <= pins(name)


@pytest.mark.parametrize(("release", "major"), [("17.0.15", 17), ("21", 21), ("1.8.0_412", 8), ("25.0.1", 25)])
def test_java_is_recognised(tmp_path: Path, release: str, major: int) -> None:
    assert java_version(fake_java(tmp_path / "jdk", release)) == major


def test_a_configured_java_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="is Java 25: point it at Java 17 or 21"):
        find_java(tmp_path, fake_java(tmp_path / "jdk", "25"), QUIET)
    with pytest.raises(StackError, match="is no Java"):
        find_java(tmp_path, tmp_path / "nothing", QUIET)
