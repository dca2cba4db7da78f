"""Which files a snapshot has: its manifests, decoded once, are pruned in memory for each query."""

from collections.abc import Sequence
from typing import Any

from pyiceberg.expressions import BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, ManifestEntry, ManifestFile
from pyiceberg.table import FileScanTask, ManifestGroupPlanner
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

from api.caching.byte_cache import ByteCache
from api.caching.metrics import Counted

RECORD_BYTES = 600
"""Of a manifest, or of a file that one lists, without the maps that have a value for each column."""
MAP_BYTES = 150
"""Of such a map; some are there for every file, empty or not."""
VALUE_BYTES = 50
"""Of a value in such a map. These three are a little more than what 64-bit Python takes (a test holds them)."""

Metadata = tuple[ManifestFile, ...] | tuple[ManifestEntry, ...]


class FileLists:
    """Manifest lists and manifests by their path: both are files that never change, and two snapshots of a table
    share most of their manifests. Safe to use from any thread.
    """

    def __init__(self, budget: int, counted: Counted) -> None:
        self._decoded: ByteCache[str, Metadata] = ByteCache(budget, size=_size, counted=counted)

    def files(
        self, table: IcebergTable, snapshot: Snapshot, row_filter: BooleanExpression
    ) -> Sequence[FileScanTask]:
        """The files of ``snapshot`` that may have rows of ``row_filter``, by partitions and bounds of columns.

        Raises:
            OSError: the object store does not answer.
        """
        planner = ManifestGroupPlanner(table.metadata, table.io, row_filter)
        return list(planner.plan_files(self.manifests(table, snapshot)))

    def manifests(self, table: IcebergTable, snapshot: Snapshot) -> Sequence[ManifestFile]:
        """The manifests of ``snapshot``, each of which is read at most once while there is room.

        Raises:
            OSError: the object store does not answer.
        """

        def load() -> Metadata:
            return tuple(_RememberedManifest(manifest, self._decoded) for manifest in snapshot.manifests(table.io))

        return self._decoded.get_or_load(snapshot.manifest_list, load)  # type: ignore[return-value]


class _RememberedManifest(ManifestFile):
    """A manifest whose entries are read once."""

    __slots__ = ("_decoded",)

    def __init__(self, manifest: ManifestFile, decoded: ByteCache[str, Metadata]) -> None:
        super().__init__(*(manifest[position] for position in range(len(manifest))))
        self._decoded = decoded

    def fetch_manifest_entry(self, io: FileIO, discard_deleted: bool = True) -> list[ManifestEntry]:
        if not discard_deleted:
            return super().fetch_manifest_entry(io, discard_deleted)
        read = super().fetch_manifest_entry
        return list(self._decoded.get_or_load(self.manifest_path, lambda: tuple(read(io))))  # type: ignore[arg-type]


def _size(metadata: Metadata) -> int:
    """About how many bytes of memory ``metadata`` takes."""
    return RECORD_BYTES + sum(
        RECORD_BYTES + (_size_of_maps(each.data_file) if isinstance(each, ManifestEntry) else 0)
        for each in metadata
    )


def _size_of_maps(file: DataFile) -> int:
    maps: tuple[dict[int, Any] | None, ...] = (
        file.column_sizes,
        file.value_counts,
        file.null_value_counts,
        file.nan_value_counts,
        file.lower_bounds,
        file.upper_bounds,
    )
    return sum(MAP_BYTES + VALUE_BYTES * len(each or ()) for each in maps)
