"""Spark SQL of ``gold.anomalies``: hours held against the same hour of the weeks before."""

from datetime import datetime

from contracts import Family, Table, families, gold_hourly
from contracts.city import ANOMALY_SCORE, BASELINE_HOURS, BASELINE_WEEKS, hourly_value
from lakehouse_assets.gold.recipe import Input, Recipe, column_list, time_range, union

WEEK_DAYS = 7
CARRIED = ("sensor_id", "window_start", "window_end", "zone")


def anomaly_recipe(declared: Table) -> Recipe:
    """``gold.anomalies`` from the hourly tables: the day itself, and its weekday of the weeks before."""
    weeks = tuple(WEEK_DAYS * week for week in range(BASELINE_WEEKS + 1))
    inputs = tuple(
        Input(gold_hourly(family), _view(family), (*CARRIED, *map(hourly_value, family.measures)), days_back=weeks)
        for family in families()
    )
    return Recipe(declared, inputs, lambda start, end: anomaly_query(declared, start, end), steady=False)


def anomaly_query(declared: Table, start: datetime, end: datetime) -> str:
    """Score the hours of ``[start, end)`` in the views of the hourly tables.

    The modified z-score and its threshold are those of Iglewicz and Hoaglin, How to Detect and Handle Outliers
    (1993): 0.6745 is the third quartile of the standard normal distribution, so that a MAD estimates a standard
    deviation. An hour that is not over yet is not judged.
    """
    expressions = {column.name: column.name for column in declared.columns} | {
        "score": "0.6745 * (value - baseline_median) / baseline_mad",
    }
    return f"""
WITH hours AS (
{union(_hours(family) for family in families())}
),
baselines AS (
  SELECT now.*, median(past.value) AS baseline_median, count(past.value) AS baseline_hours,
    collect_list(past.value) AS past_values
  FROM hours now JOIN hours past
    ON past.family = now.family AND past.sensor_id = now.sensor_id AND past.measure = now.measure
    AND past.window_start < now.window_start
    AND past.window_start >= now.window_start - INTERVAL {WEEK_DAYS * BASELINE_WEEKS} DAYS
    AND (unix_seconds(now.window_start) - unix_seconds(past.window_start)) % {WEEK_DAYS * 86_400} = 0
  WHERE {time_range("now.window_start", start, end)} AND now.window_end <= current_timestamp()
  GROUP BY ALL
),
scored AS (
  SELECT *, array_sort(transform(past_values, past -> abs(past - baseline_median))) AS deviations FROM baselines
),
judged AS (
  SELECT *, (
    deviations[(baseline_hours - 1) DIV 2] + deviations[baseline_hours DIV 2]
  ) / 2 AS baseline_mad FROM scored
)
SELECT
  {column_list(declared, expressions)}
FROM judged
WHERE baseline_hours >= {BASELINE_HOURS} AND baseline_mad > 0
  AND abs({expressions["score"]}) > {ANOMALY_SCORE}
"""  # noqa: S608


def _view(family: Family) -> str:
    return f"{family.name}_hours"


def _hours(family: Family) -> str:
    """One row per sensor, hour and measure that has a value."""
    values = ", ".join(
        f"'{measure.name}', '{measure.unit}', CAST({hourly_value(measure)} AS DOUBLE)"
        for measure in family.measures
    )
    return f"""
  SELECT '{family.name}' AS family, {", ".join(CARRIED)}, measure, unit, value
  FROM {_view(family)} LATERAL VIEW stack({len(family.measures)}, {values}) AS measure, unit, value
  WHERE value IS NOT NULL"""  # noqa: S608
