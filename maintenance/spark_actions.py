"""Iceberg's own maintenance, run in Spark (procedures of "Spark procedures" in Iceberg's documentation)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_fixed

from contracts import LakehouseError, Maintenance, Table
from maintenance.plan import CLOSED_COMPACT_AT, SMALL_SHARE, PartitionFiles

if TYPE_CHECKING:
    from pyspark.sql import Row, SparkSession


class MaintenanceError(LakehouseError):
    """A step of maintenance failed; the table is as it was before that step."""


class SparkActions:
    """The steps for one table; each is one commit, or a few, that replaces no row."""

    def __init__(self, session: "SparkSession", catalog_name: str, declared: Table) -> None:
        self._session = session
        self._catalog_name = catalog_name
        self._declared = declared
        self._rules: Maintenance = declared.maintenance

    def compact(self, parts: Sequence[PartitionFiles]) -> int:
        """Join the small files of partitions, all open or all closed; returns how many files were replaced.

        Those of a closed one are sorted. What lies between the first and the last of ``parts`` is looked at, too.

        Rows that are appended meanwhile stay: the commit fails only where another has removed the same files.

        Raises:
            MaintenanceError: it has, or Spark failed.
        """
        closed, first, last = parts[0].closed, parts[0].day, parts[-1].day
        options = {
            "min-input-files": CLOSED_COMPACT_AT if closed else self._rules.compact_at,
            "target-file-size-bytes": self._rules.target_file_bytes,
            "min-file-size-bytes": int(SMALL_SHARE * self._rules.target_file_bytes),
        }
        arguments = {
            "strategy": _text("sort" if closed else "binpack"),
            "options": f"map({', '.join(_text(str(word)) for pair in options.items() for word in pair)})",
        }
        if first is not None and last is not None:
            column = self._declared.event_time
            following = last + timedelta(days=1)
            arguments["where"] = _text(
                f"{column} >= TIMESTAMP '{first} 00:00:00' AND {column} < TIMESTAMP '{following} 00:00:00'"
            )
        [done] = self._call("rewrite_data_files", **arguments)
        return int(done["rewritten_data_files_count"])

    def rewrite_manifests(self) -> int:
        """Order the manifests by partition; returns how many were replaced."""
        [done] = self._call("rewrite_manifests", use_caching="false")
        return int(done["rewritten_manifests_count"])

    def expire(self, before: datetime) -> int:
        """Forget snapshots that are older, and delete the files that only they list; returns how many files."""
        [done] = self._call(
            "expire_snapshots", older_than=_timestamp(before), retain_last=str(self._rules.keep_at_least)
        )
        return sum(count or 0 for name, count in done.asDict().items() if name.startswith("deleted_"))

    def compute_statistics(self, columns: Sequence[str]) -> str:
        """Count the distinct values of ``columns`` in the current snapshot; returns the location of the file.

        All rows are read, of these columns alone.
        """
        [done] = self._call("compute_table_stats", columns=f"array({', '.join(map(_text, columns))})")
        location: str = done["statistics_file"]
        return location

    def remove_orphans(self, before: datetime, *, dry_run: bool, listing: str | None = None) -> list[str]:
        """Delete files at the table's location that are older and that no snapshot of any branch lists.

        Returns their locations; with ``dry_run`` they stay. The procedure refuses a ``before`` of the last day.
        ``listing`` names a view with ``file_path`` and ``last_modified``, such as an inventory of a large store;
        without it the store lists the files.
        """
        # file systems of Hadoop do not know the store: the table's own client lists it
        source = {"prefix_listing": "true"} if listing is None else {"file_list_view": _text(listing)}
        found = self._call(
            "remove_orphan_files", older_than=_timestamp(before), dry_run=str(dry_run).lower(), **source
        )
        return sorted(row["orphan_file_location"] for row in found)

    @retry(
        retry=retry_if_exception_type(MaintenanceError),
        stop=stop_after_attempt(3),
        wait=wait_fixed(1),
        reraise=True,
    )
    def _call(self, procedure: str, **arguments: str) -> list["Row"]:
        given = "".join(f", {name} => {value}" for name, value in arguments.items())
        # with its catalog: the first part of a shorter name is looked for among the catalogs, and loudly missed
        name = _text(f"{self._catalog_name}.{self._declared.identifier}")
        statement = f"CALL {self._catalog_name}.system.{procedure}(table => {name}{given})"
        try:
            rows: list[Row] = self._session.sql(statement).collect()
        except (Py4JJavaError, PySparkException) as error:
            cause = str(getattr(error, "java_exception", error)).splitlines()[0]
            raise MaintenanceError(
                f"{self._declared.identifier}: {procedure} failed three times ({cause}); where other "
                "writers replaced the same files meanwhile, the next run takes them up"
            ) from error
        return rows


def _timestamp(instant: datetime) -> str:
    return f"TIMESTAMP '{instant:%Y-%m-%d %H:%M:%S.%f}'"


def _text(value: str) -> str:
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"
