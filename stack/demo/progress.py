"""Progress bar of a source, on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sources.stream import Progress as SourceProgress


@contextmanager
def source_progress(console: Console, title: str, total: int | None) -> Iterator[SourceProgress]:
    """Bar that follows the acknowledged records of a run."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=total)

        def update(*, sent: int, acknowledged: int, waiting_for_broker: bool) -> None:
            description = f"{title} (waiting for the broker)" if waiting_for_broker else title
            bar.update(task, completed=acknowledged, description=description)

        yield update
