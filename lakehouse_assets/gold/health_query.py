"""Spark SQL of ``gold.sensor_health``: how each sensor did on a day."""

from datetime import datetime

from contracts import Family, MeasureKind, Table, bronze_events, families, gold_hourly
from contracts.city import GAP_AFTER, NEIGHBOURS, SILENT_FOR, STUCK_AFTER
from lakehouse_assets.gold.recipe import Input, Recipe, column_list, timestamp, union

DAY_S = 86_400
EVENT_COLUMNS = ("event_id", "sensor_id", "event_time", "zone", "kafka_partition", "kafka_offset")


def health_recipe(declared: Table) -> Recipe:
    """``gold.sensor_health`` from the day's events, and from earlier hours for sensors that fell silent."""
    inputs = tuple(
        read
        for family in families()
        for read in (
            Input(
                bronze_events(family),
                f"{family.name}_day",
                (*EVENT_COLUMNS, *(measure.name for measure in family.measures)),
            ),
            Input(
                gold_hourly(family),
                f"{family.name}_before",
                ("sensor_id", "zone", "window_start", "window_end"),
                days_back=tuple(range(1, SILENT_FOR.days + 1)),
            ),
        )
    )
    return Recipe(
        declared,
        inputs,
        lambda start, end: union(family_query(declared, family, start, end) for family in families()),
    )


def family_query(declared: Table, family: Family, start: datetime, end: datetime) -> str:
    """Judge the sensors of one family on the days of ``[start, end)``.

    Drift is the modified z-score of Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993).
    """
    interval = family.reporting_interval.total_seconds()
    gap = GAP_AFTER * interval
    expressions = {column.name: f"seen.{column.name}" for column in declared.columns} | {
        "family": f"'{family.name}'",
        "window_start": "seen.day",
        "window_end": "seen.day + INTERVAL 1 DAY",
        "stuck_measure": "stuck.measure",
        "stuck_s": "stuck.seconds",
        "drift_measure": "drift.measure",
        "drift_score": "drift.score",
    }
    return f"""
SELECT
  {column_list(declared, expressions)}
FROM (
  WITH events AS ({_distinct_events(family)}),
  days AS (
    -- of the running day, what is over of it
    SELECT day, least({DAY_S}, unix_seconds(current_timestamp()) - unix_seconds(day)) AS until_s
    FROM (SELECT explode(sequence({timestamp(start)}, {timestamp(end)} - INTERVAL 1 DAY, INTERVAL 1 DAY)) AS day)
    WHERE day < current_timestamp()
  ),
  steps AS (
    SELECT events.*, second - lag(second, 1, 0) OVER (
      PARTITION BY sensor_id, day ORDER BY event_time
    ) AS before_s
    FROM events
  ),
  present AS (
    SELECT sensor_id, day,
      max_by(zone, struct(event_time, kafka_offset)) AS zone,
      count(*) AS event_count,
      least(1.0D, count(DISTINCT floor(second / {interval})) / ceil(any_value(until_s) / {interval}))
        AS coverage_ratio,
      count_if(before_s > {gap}) + CAST(any_value(until_s) - max(second) > {gap} AS INT) AS gap_count,
      greatest(max(before_s), any_value(until_s) - max(second)) AS longest_gap_s,
      max(event_time) AS last_seen
    FROM steps JOIN days USING (day)
    GROUP BY sensor_id, day
  ),
  silent AS (
    SELECT before.sensor_id, days.day,
      max_by(before.zone, before.window_start) AS zone,
      CAST(0 AS BIGINT) AS event_count, CAST(0 AS DOUBLE) AS coverage_ratio, CAST(1 AS BIGINT) AS gap_count,
      CAST(any_value(days.until_s) AS DOUBLE) AS longest_gap_s,
      max(before.window_end) AS last_seen
    FROM days JOIN {family.name}_before before
      ON before.window_start < days.day
      AND before.window_start >= days.day - INTERVAL {SILENT_FOR.days} DAYS
    LEFT ANTI JOIN present ON present.sensor_id = before.sensor_id AND present.day = days.day
    GROUP BY before.sensor_id, days.day
  )
  SELECT * FROM present UNION ALL SELECT * FROM silent
) seen
LEFT JOIN ({_stuck(family)}) stuck ON stuck.sensor_id = seen.sensor_id AND stuck.day = seen.day
LEFT JOIN ({_drift(family)}) drift ON drift.sensor_id = seen.sensor_id AND drift.day = seen.day
"""  # noqa: S608


def _distinct_events(family: Family) -> str:
    """The day's events without copies, each with the start of its day and the second in it."""
    return f"""
    SELECT *, (unix_micros(event_time) - unix_micros(day)) / 1e6 AS second FROM (
      SELECT *, date_trunc('DAY', event_time) AS day, row_number() OVER (
        PARTITION BY event_id, to_date(event_time) ORDER BY kafka_partition, kafka_offset
      ) AS copy
      FROM {family.name}_day
    )
    WHERE copy = 1"""  # noqa: S608


def _values(family: Family, measures: list[str]) -> str:
    """One row per event and measure that has a value."""
    pairs = ", ".join(f"'{name}', CAST({name} AS DOUBLE)" for name in measures)
    return f"""
      SELECT sensor_id, zone, day, event_time, kafka_offset, measure, value
      FROM ({_distinct_events(family)})
      LATERAL VIEW stack({len(measures)}, {pairs}) AS measure, value
      WHERE value IS NOT NULL"""  # noqa: S608


def _stuck(family: Family) -> str:
    """The longest time for which a measure of a sensor that should change did not."""
    measures = [measure.name for measure in family.measures if not measure.steady]
    if not measures:
        return "SELECT '' AS sensor_id, TIMESTAMP '1970-01-01' AS day, '' AS measure, 0.0D AS seconds WHERE false"
    return f"""
  SELECT sensor_id, day, max_by(measure, seconds) AS measure, max(seconds) AS seconds FROM (
    SELECT sensor_id, day, measure, (max(unix_micros(event_time)) - min(unix_micros(event_time))) / 1e6 AS seconds
    FROM (
      SELECT *, sum(CAST(changed AS INT)) OVER (
        PARTITION BY sensor_id, day, measure ORDER BY event_time, kafka_offset
      ) AS run
      FROM (
        SELECT *, value IS DISTINCT FROM lag(value) OVER (
          PARTITION BY sensor_id, day, measure ORDER BY event_time, kafka_offset
        ) AS changed
        FROM ({_values(family, measures)})
      )
    )
    GROUP BY sensor_id, day, measure, run
  )
  GROUP BY sensor_id, day
  HAVING max(seconds) >= {STUCK_AFTER.total_seconds()}"""  # noqa: S608


def _drift(family: Family) -> str:
    """The measure whose mean of the day is furthest from those of the sensors in the same zone."""
    measures = [measure.name for measure in family.measures if measure.kind is not MeasureKind.COUNTER]
    if not measures:
        return "SELECT '' AS sensor_id, TIMESTAMP '1970-01-01' AS day, '' AS measure, 0.0D AS score WHERE false"
    place = "PARTITION BY zone, day, measure"
    return f"""
  SELECT sensor_id, day, max_by(measure, abs(score)) AS measure, max_by(score, abs(score)) AS score FROM (
    SELECT *, 0.6745 * (value - middle) / mad AS score FROM (
      SELECT *, percentile(abs(value - middle), 0.5) OVER ({place}) AS mad FROM (
        SELECT *, percentile(value, 0.5) OVER ({place}) AS middle, count(*) OVER ({place}) AS sensors FROM (
          SELECT sensor_id, day, measure, avg(value) AS value, max_by(zone, event_time) AS zone
          FROM ({_values(family, measures)})
          GROUP BY sensor_id, day, measure
        )
        WHERE zone IS NOT NULL
      )
    )
    WHERE sensors >= {NEIGHBOURS} AND mad > 0
  )
  GROUP BY sensor_id, day"""  # noqa: S608
