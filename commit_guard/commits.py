"""Which requests are commits of Flink: bodies of the REST spec's ``UpdateTable`` and ``CommitTransaction``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import quote, unquote_to_bytes

import orjson

from commit_guard.decision import MAIN, FlinkSnapshot, flink_summary

JsonObject: TypeAlias = dict[str, Any]

NAMESPACE_SEPARATOR = "\x1f"
"""Between the levels of a namespace in a path, before it is percent-encoded."""

_TABLE_PATH = re.compile(rb"/v1/(?:.+/)?namespaces/([^/]+)/tables/([^/]+)")
_TRANSACTION_PATH = re.compile(rb"(/v1/(?:.+/)?)transactions/commit")


@dataclass(frozen=True, slots=True)
class TableChange:
    """What a commit does to one table.

    ``table`` is the dotted name, ``path`` the table's percent-encoded path at the catalog and ``body`` the object
    that holds its requirements and updates. ``asserted`` are the snapshots that the client requires branches to be
    at, ``None`` for a branch that must not exist. ``snapshots`` are those of Flink that it adds, once per branch.
    """

    table: str
    path: bytes
    body: JsonObject
    asserted: Mapping[str, int | None]
    snapshots: tuple[FlinkSnapshot, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit with snapshots of Flink; ``changes`` are those of its tables that get such a snapshot."""

    content: bytes
    document: JsonObject
    changes: tuple[TableChange, ...]
    is_transaction: bool

    @property
    def tables(self) -> str:
        """Names of the tables, for messages."""
        return ", ".join(change.table for change in self.changes)

    def pinned(self, heads: Sequence[Mapping[str, int | None]]) -> bytes:
        """Return the body to forward: it holds only while the branches are where they were inspected.

        Args:
            heads: for each of ``changes``, the inspected snapshot of each branch, ``None`` for a new branch.

        Returns:
            The client's own bytes where these already assert every branch.
        """
        added = False
        for change, inspected in zip(self.changes, heads, strict=True):
            missing = [
                {"type": "assert-ref-snapshot-id", "ref": branch, "snapshot-id": head}
                for branch, head in inspected.items()
                if branch not in change.asserted
            ]
            if missing:
                change.body["requirements"] = [*change.body.get("requirements", ()), *missing]
                added = True
        return orjson.dumps(self.document) if added else self.content


def parse_commit(path: bytes, content: bytes) -> Commit | None:
    """Read a ``POST`` and return the commit of Flink that it is, or ``None`` where it is anything else.

    Args:
        path: percent-encoded, without the query.
        content: the body as it came.
    """
    in_table = _TABLE_PATH.fullmatch(path)
    in_transaction = _TRANSACTION_PATH.fullmatch(path)
    # looked for in the bytes, because parsing every body of other writers would cost more
    if not (in_table or in_transaction) or b"flink." not in content:
        return None
    try:
        document = orjson.loads(content)
        if in_table:
            table = b".".join(map(unquote_to_bytes, in_table.groups())).replace(b"\x1f", b".")
            changes = [_table_change(table.decode(errors="replace"), path, document)]
        elif in_transaction:
            prefix = in_transaction.group(1)
            changes = [_transaction_change(prefix, change) for change in document["table-changes"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        # not what the spec describes: for the catalog to refuse
        return None
    guarded = tuple(change for change in changes if change.snapshots)
    return Commit(content, document, guarded, is_transaction=in_table is None) if guarded else None


def _transaction_change(prefix: bytes, change: JsonObject) -> TableChange:
    identifier = change["identifier"]
    levels, name = identifier["namespace"], identifier["name"]
    namespace = quote(NAMESPACE_SEPARATOR.join(levels), safe="")
    path = prefix + f"namespaces/{namespace}/tables/{quote(name, safe='')}".encode()
    return _table_change(".".join([*levels, name]), path, change)


def _table_change(table: str, path: bytes, body: JsonObject) -> TableChange:
    updates = body["updates"]
    branches = {
        update["ref-name"]: update["snapshot-id"]
        for update in updates
        if update["action"] == "set-snapshot-ref" and update.get("type") != "tag"
    }
    asserted = {
        requirement["ref"]: requirement.get("snapshot-id")
        for requirement in body.get("requirements", ())
        if requirement["type"] == "assert-ref-snapshot-id"
    }
    return TableChange(table, path, body, asserted, tuple(_flink_snapshots(updates, branches)))


def _flink_snapshots(updates: Sequence[JsonObject], branches: Mapping[str, int]) -> Iterator[FlinkSnapshot]:
    for update in updates:
        if update["action"] != "add-snapshot":
            continue
        snapshot = update["snapshot"]
        written = flink_summary(snapshot)
        if written is None:
            continue
        own = [branch for branch, head in branches.items() if head == snapshot["snapshot-id"]]
        # one that no branch is set to is an ancestor of one that is, or lands on none, which main stands for
        for branch in own or list(branches) or [MAIN]:
            yield FlinkSnapshot(snapshot["snapshot-id"], snapshot.get("parent-snapshot-id"), branch, written)
