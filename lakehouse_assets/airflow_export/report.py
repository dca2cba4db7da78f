"""The report of an export: what stands for what, how to use it, and what has no equivalent."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from lakehouse_assets.airflow_export.model import Export, Refusal

REPORT = "REPORT.md"
MODULES = ("lakehouse_dagster.py", "lakehouse_graphql.py", "lakehouse_triggers.py")
"""What the DAGs import, and Airflow's triggerer."""


def report(export: Export, backfill: str, limits: Sequence[str]) -> str:
    """The report as Markdown.

    Args:
        export: what is reported on.
        backfill: command of the version of Airflow that computes past days.
        limits: what that version cannot do.
    """
    return "\n".join(_lines(export, backfill, limits)) + "\n"


def _lines(export: Export, backfill: str, limits: Sequence[str]) -> Iterator[str]:
    yield "# Airflow DAGs of the lakehouse"
    yield ""
    yield "Written by `./lakehouse export airflow`. The DAGs call a running Dagster; they compute nothing."
    yield ""
    yield f"1. Copy {', '.join(f'`{name}`' for name in MODULES)} into Airflow's plugins"
    yield "   folder (its triggerer imports nothing from the DAGs folder), the other Python files and"
    yield "   `.airflowignore` into its DAGs folder; restart the triggerer."
    yield "2. `airflow connections import connections.example.json`, with host and token (password) set."
    yield "3. `airflow pools import pools.json`"
    yield "4. Stop in Dagster the schedules that have a DAG here; leave its sensors on. Then unpause the DAGs."
    yield f"5. For past days, `{backfill}`;"
    yield "   END is the day after the last one. Take a DAG that runs once a day: one that runs hourly would"
    yield "   compute every day again for each of its hours."
    yield ""
    yield "| DAG | Dagster job | cron | timezone | tasks |"
    yield "| --- | --- | --- | --- | --- |"
    for dag in export.dags:
        yield f"| `{dag.dag_id}` | `{dag.job}` | `{dag.cron or 'none'}` | {dag.timezone} | {len(dag.tasks)} |"
    yield ""
    yield "## What has no equivalent"
    yield ""
    if not export.refusals and not limits:
        yield "Nothing."
    yield from (f"- {limit}" for limit in limits)
    kinds: dict[tuple[str, str, str], list[Refusal]] = defaultdict(list)
    for refusal in export.refusals:
        kinds[refusal.kind, refusal.reason, refusal.nearest].append(refusal)
    for (kind, reason, nearest), refusals in kinds.items():
        yield f"- **{kind}**: {reason}. Nearest: {nearest}."
        yield from (f"  - `{refusal.name}`" for refusal in refusals)
