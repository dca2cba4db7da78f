"""Downloads the jars that ``locks/jars.txt`` pins, by Maven coordinates and SHA-256."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from jgo.constants import MAVEN_CENTRAL_URL
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_exponential

from settings.model import ROOT
from stack.errors import StackError

LOCK_FILE = ROOT / "locks" / "jars.txt"
PARALLEL_DOWNLOADS = 4

Advance = Callable[[int], None]
"""Told how many bytes arrived."""


class ChecksumError(StackError):
    """A downloaded jar is not the pinned one."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar; ``group_name`` names the class path that it belongs to."""

    group_name: str
    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file_name(self) -> str:
        """Name of the file in the repository and in the toolchain."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def repository_path(self) -> str:
        """Path in the Maven 2 repository layout."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


def read_lock(path: Path = LOCK_FILE) -> list[Jar]:
    """Read the pinned jars: lines of ``class-path group:artifact:version sha256``."""
    jars = []
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            group_name, coordinates, sha256 = line.split()
            group, artifact, version = coordinates.split(":")
            jars.append(Jar(group_name, group, artifact, version, sha256))
    return jars


def class_path(toolchain: Path, group_name: str) -> str:
    """Class path of all jars in the group."""
    return os.pathsep.join(str(jar) for jar in sorted((toolchain / "jars" / group_name).glob("*.jar")))


def fetch_jars(toolchain: Path, console: Console) -> None:
    """Download the jars that are missing, resuming what was interrupted; nothing is asked when all are there.

    ``LAKEHOUSE_MAVEN_REPOSITORY`` names another repository, such as a company mirror.

    Raises:
        StackError: a jar cannot be downloaded.
        ChecksumError: what was downloaded is not what is pinned.
    """
    stamp = toolchain / "jars.lock"
    if stamp.exists() and stamp.read_bytes() == LOCK_FILE.read_bytes():
        return
    folder = toolchain / "jars"
    jars = read_lock()
    _drop_unpinned(folder, jars)
    missing = [jar for jar in jars if not _is_pinned(folder / jar.group_name / jar.file_name, jar)]
    repository = os.environ.get("LAKEHOUSE_MAVEN_REPOSITORY", MAVEN_CENTRAL_URL)
    with _progress(console) as progress, httpx.Client(timeout=60, follow_redirects=True) as client:
        task = progress.add_task(f"downloading {len(missing)} jars", total=None)

        def fetch(jar: Jar) -> None:
            _fetch(
                client,
                f"{repository}/{jar.repository_path}",
                jar,
                folder,
                lambda n: progress.advance(task, n),
            )
            progress.console.print(f"  {jar.file_name}")

        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            list(pool.map(fetch, missing))
    shutil.copyfile(LOCK_FILE, stamp)


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as progress:
        yield progress


def _drop_unpinned(folder: Path, jars: list[Jar]) -> None:
    pinned = {folder / jar.group_name / jar.file_name for jar in jars}
    for path in folder.glob("*/*.jar"):
        if path not in pinned:
            path.unlink()


def _is_pinned(path: Path, jar: Jar) -> bool:
    return path.exists() and _sha256(path) == jar.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(client: httpx.Client, url: str, jar: Jar, folder: Path, advance: Advance) -> None:
    target = folder / jar.group_name / jar.file_name
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".part")
    try:
        _download(client, url, partial, advance)
    except httpx.HTTPError as error:
        raise StackError(
            f"could not download {jar.group}:{jar.artifact}:{jar.version} ({error}): check the network, or set "
            "LAKEHOUSE_MAVEN_REPOSITORY to a mirror; start again to resume"
        ) from error
    if _sha256(partial) != jar.sha256:
        partial.unlink()
        raise ChecksumError(f"{jar.file_name} from {url} is not the pinned file: start again, or check the mirror")
    partial.rename(target)


@retry(
    retry=retry_if_exception_type(httpx.TransportError),
    stop=stop_after_attempt(5),
    wait=wait_exponential(multiplier=1, max=15),
    reraise=True,
)
def _download(client: httpx.Client, url: str, partial: Path, advance: Advance) -> None:
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the part is whole already; the checksum decides
        response.raise_for_status()
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        with partial.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                advance(len(chunk))
