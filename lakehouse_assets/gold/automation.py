"""When gold tables that are derived from gold tables are computed again without anyone asking for it.

The schedules and `late_data` compute a day of these tables in the run that computes what they are derived from.
What is left is a day that is computed upstream alone: from the UI, by a backfill, by `contract_change`. The tables
below it follow by an automation condition. The tables above, derived from the streams, have none: a stream has no
partitions, so each of its snapshots, every ten seconds, would be news for all days since the first.
"""

from collections.abc import Iterable
from datetime import timedelta

import dagster as dg

from contracts import Writer
from lakehouse_assets.describe import table_key
from lakehouse_assets.gold.recipe import Recipe
from lakehouse_assets.gold.recipes import gold_recipes

LOOKS_AT = "35 * * * *"
"""Once an hour: many changes upstream make one run; after the schedules of the hour."""
NOT_CLOSED = timedelta(days=2)
"""The running day and the one before, counted from the end of the running one: their first run is a schedule's."""


def follows_gold(recipe: Recipe) -> bool:
    """Whether the table is derived from tables that Spark computes."""
    return any(read.table.writer is Writer.SPARK for read in recipe.inputs)


def follow_upstream(recipe: Recipe) -> dg.AutomationCondition[dg.AssetKey] | None:
    """The condition of a table that is derived from gold tables, ``None`` for the others.

    A day is asked for at an hourly tick if what it is computed from was published since it was computed itself,
    by a run that did not compute this table as well. It was computed before, or it is closed and has all that it
    is computed from. Nothing of it is under way, and upstream the newest evaluation of every blocking check has
    passed: one that failed with a mere warning holds back as well, since Dagster's conditions do not tell
    severities apart. A day that has to wait is asked for at a later tick.

    A day whose upstream reaches back in time is asked for when any day between was published, since a partition
    mapping is one range: `gold.anomalies` for eight weeks of days, not for the eight days that read it.
    """
    if not follows_gold(recipe):
        return None
    when = dg.AutomationCondition
    streams = dg.AssetSelection.assets(
        *(table_key(read.table) for read in recipe.inputs if read.table.writer is not Writer.SPARK)
    )
    has_all = ~when.any_deps_missing().ignore(streams) & ~when.in_latest_time_window(NOT_CLOSED)
    return (
        when.any_deps_updated().ignore(streams).since_last_handled()
        & when.cron_tick_passed(LOOKS_AT, "UTC")
        & (~when.missing() | has_all)
        & ~when.any_deps_in_progress()
        & ~when.in_progress()
        & when.all_deps_blocking_checks_passed()
    ).with_label("follow_upstream")


def gold_follows(recipes: Iterable[Recipe]) -> dg.AutomationConditionSensorDefinition:
    """The sensor that evaluates the conditions; several days are one backfill, a range of days one run of it."""
    return dg.AutomationConditionSensorDefinition(
        "gold_follows",
        target=dg.AssetSelection.assets(
            *(table_key(recipe.declared) for recipe in recipes if follows_gold(recipe))
        ),
        description="Computes days of gold tables again after the gold tables that they are derived from",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # after the runs of the schedules: readers wait for the running day
        run_tags={"dagster/priority": "-1"},
    )


GOLD_FOLLOWS = gold_follows(gold_recipes())
