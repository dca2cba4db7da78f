"""Writes an export to a folder, or says how the folder differs from it."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path

from lakehouse_assets.airflow_export.model import AirflowExportError
from lakehouse_assets.airflow_export.render import MARK


def write(files: Mapping[str, str], folder: Path) -> list[str]:
    """Write the files, and remove DAGs that an earlier export wrote and this one has not.

    Returns:
        Names of the files that were removed.

    Raises:
        AirflowExportError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        removed = list(_left_over(files, folder))
        for name in removed:
            (folder / name).unlink()
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise AirflowExportError(f"cannot write to {folder}: {error.strerror}; choose another --out") from error
    return removed


def difference(files: Mapping[str, str], folder: Path) -> str:
    """A unified diff from what is in ``folder`` to what an export would write; empty where nothing differs.

    Raises:
        AirflowExportError: there is no such folder.
    """
    if not folder.is_dir():
        raise AirflowExportError(
            f"there is no folder {folder}: ./lakehouse export airflow --out {folder} writes it"
        )
    lines: list[str] = []
    for name in sorted({*files, *_left_over(files, folder)}):
        path = folder / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        new = files.get(name, "")
        lines += difflib.unified_diff(
            old.splitlines(keepends=True), new.splitlines(keepends=True), f"{folder}/{name}", f"exported/{name}"
        )
    return "".join(lines)


def _left_over(files: Mapping[str, str], folder: Path) -> Iterator[str]:
    for path in sorted(folder.glob("*.py")):
        if path.name not in files and MARK in path.read_text(encoding="utf-8"):
            yield path.name
