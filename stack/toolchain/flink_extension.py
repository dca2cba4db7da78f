"""Compiles the Java of ``streaming/java`` into a jar, with the Eclipse compiler: a runtime has no ``javac``."""

import hashlib
import os
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from settings.model import ROOT
from stack.errors import StackError
from stack.toolchain.jars import class_path

SOURCES = ROOT / "streaming" / "java"
RELEASE = "17"


def extension_jar(toolchain: Path) -> Path:
    """Where the jar is, or will be."""
    return toolchain / "java-extension" / f"city-lakehouse-flink-{_fingerprint()}.jar"


def build_extension(toolchain: Path, java_home: Path) -> None:
    """Compile and pack the sources unless that was done; the name of the jar tells which sources it is of.

    Raises:
        StackError: the sources do not compile.
    """
    jar = extension_jar(toolchain)
    if jar.exists():
        return
    shutil.rmtree(jar.parent, ignore_errors=True)
    jar.parent.mkdir(parents=True)
    (flink,) = (toolchain / "streaming" / "lib").glob("python3*/site-packages/pyflink/lib")
    with tempfile.TemporaryDirectory() as classes:
        _compile(toolchain, java_home, flink, Path(classes))
        shutil.copytree(SOURCES / "resources", classes, dirs_exist_ok=True)
        partial = jar.with_suffix(".part")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(Path(classes).rglob("*")):
                archive.write(path, path.relative_to(classes))
        partial.rename(jar)


def _compile(toolchain: Path, java_home: Path, flink: Path, classes: Path) -> None:
    command: list[str | Path] = [
        java_home / "bin" / "java",
        "-jar",
        class_path(toolchain, "compiler"),
        "-source",
        RELEASE,
        "-target",
        RELEASE,
        "-classpath",
        os.pathsep.join((*(str(jar) for jar in sorted(flink.glob("*.jar"))), class_path(toolchain, "flink"))),
        "-d",
        classes,
        *_files("src"),
    ]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode:
        raise StackError(f"{SOURCES} does not compile: {compiled.stderr.strip() or compiled.stdout.strip()}")


def _files(folder: str) -> list[Path]:
    return sorted(path for path in (SOURCES / folder).rglob("*") if path.is_file())


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in (*_files("src"), *_files("resources")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
