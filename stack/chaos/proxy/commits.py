"""Which requests are commits of Flink to which table: the REST catalog's ``UpdateTable`` with a Flink snapshot."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

import orjson

from resources.snapshots import FLINK_CHECKPOINT
from stack.chaos.proxy.http import Message

_TABLE = re.compile(rb"/v1/(?:.+/)?namespaces/([^/?]+)/tables/([^/?]+)")


@dataclass(frozen=True, slots=True)
class FlinkCommit:
    """A checkpoint of a job on its way to a table (``namespace.name``).

    Two requests that are equal by this bring the same data files.
    """

    table: str
    job_id: str
    operator_id: str
    checkpoint_id: int


def flink_commit(request: Message) -> FlinkCommit | None:
    """The commit of Flink that the request is, ``None`` where it is anything else."""
    path = _TABLE.fullmatch(request.target)
    if request.method != b"POST" or path is None or FLINK_CHECKPOINT.encode() not in request.content:
        return None
    for update in orjson.loads(request.content)["updates"]:
        summary = update.get("snapshot", {}).get("summary", {})
        if FLINK_CHECKPOINT in summary:
            return FlinkCommit(
                ".".join(unquote(part.decode()) for part in path.groups()),
                summary["flink.job-id"],
                summary["flink.operator-id"],
                int(summary[FLINK_CHECKPOINT]),
            )
    return None
