"""Write-audit-publish: a batch table is written on a branch, checked there, and only then seen by readers."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import dagster as dg
from pyiceberg.catalog import Catalog

from contracts import Table
from lakehouse_assets.check_results import check_result
from lakehouse_assets.gold.plausible import days_of_bad_rows
from lakehouse_assets.gold.recipe import time_filter
from lakehouse_assets.gold.volume import volume_result
from resources.branches import KEPT, branch_head, create_branch, publish
from resources.quality import validate

BRANCH_PREFIX = "run_"


def begin_branch(catalog: Catalog, declared: Table, run_id: str) -> str:
    """Begin the branch that the run writes to, and return its name."""
    name = BRANCH_PREFIX + run_id.replace("-", "")
    create_branch(catalog.load_table(declared.identifier), name)
    return name


def audit_and_publish(
    catalog: Catalog, declared: Table, branch: str, start: datetime, end: datetime, *, steady: bool = False
) -> Iterator[dg.AssetCheckResult]:
    """Check the rows of ``[start, end)`` on the branch, and publish it unless what they lack is critical.

    A row out of range is published with a warning, a day that has no other rows is not. Where days are
    ``steady``, a warning says which of them have far more or fewer rows than those around them.

    Raises:
        dg.Failure: it is; the branch stays to be looked at.
        BranchError: another run has published since the branch began; the branch stays.
    """
    table = catalog.load_table(declared.identifier)
    head, last = branch_head(table, branch), end - timedelta(days=1)
    rows = table.scan(time_filter(declared.event_time, start, end), snapshot_id=head.snapshot_id).to_arrow()
    report = validate(declared, rows)
    yield check_result(report, f"{start:%Y-%m-%d} to {last:%Y-%m-%d}")
    if steady:
        yield volume_result(table, head, start.date(), last.date())
    if report.critical:
        failed = sorted({f"{f.expectation}({f.columns})" for f in report.findings if f.critical and not f.passed})
        raise _refused(declared, branch, ", ".join(failed))
    if days := days_of_bad_rows(declared, rows):
        raise _refused(
            declared,
            branch,
            f"no row of {', '.join(map(str, days))} is within the valid ranges: if the sensors changed a unit, "
            "correct it at the source, else the range in the contract",
        )
    publish(table, branch)


def _refused(declared: Table, branch: str, why: str) -> dg.Failure:
    return dg.Failure(
        f"{declared.identifier} is not published: {why}. Readers keep what they had. The rows "
        f"stay on branch {branch} for {KEPT.days} days; to publish them as they are: "
        f"./lakehouse publish {declared.identifier} --branch {branch}",
        allow_retries=False,
    )
