"""The audit of the platform: every bronze table that is asked for."""

import time
from collections.abc import Iterable

from audit.bronze import audit_table
from audit.report import AuditReport
from audit.sources import Progress, Sources, silent
from contracts import Family
from settings import Settings

WAIT_S = 60.0


def audit(
    settings: Settings,
    families: Iterable[Family],
    *,
    full: bool,
    wait_s: float = WAIT_S,
    progress: Progress = silent,
) -> AuditReport:
    """Audit the bronze table of each family.

    By default only what came since the last audit that passed is read; ``full`` reads everything. ``wait_s`` is
    how many seconds the collector of dead letters may be behind each table, and each table behind the committed
    consumer offsets.

    Raises:
        AuditError: the broker does not answer.
        DeleteFilesError: a table has delete files.
    """
    started = time.monotonic()
    sources = Sources.of(settings)
    tables = [audit_table(sources, family, full=full, wait_s=wait_s, progress=progress) for family in families]
    return AuditReport(tables=tables, seconds=round(time.monotonic() - started, 3))
