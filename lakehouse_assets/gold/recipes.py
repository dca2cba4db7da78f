"""The recipes of all tables that Spark computes."""

from contracts import anomalies, bronze_events, city_hourly, families, gold_daily, gold_hourly, sensor_health
from lakehouse_assets.gold.anomaly_query import anomaly_recipe
from lakehouse_assets.gold.city_query import city_recipe
from lakehouse_assets.gold.health_query import health_recipe
from lakehouse_assets.gold.query import windows_recipe
from lakehouse_assets.gold.recipe import Recipe


def gold_recipes() -> tuple[Recipe, ...]:
    """One for each table, upstream first."""
    every = families()
    return (
        *(
            windows_recipe(of(member), bronze_events(member))
            for of in (gold_hourly, gold_daily)
            for member in every
        ),
        city_recipe(city_hourly(every)),
        health_recipe(sensor_health(every)),
        anomaly_recipe(anomalies(every)),
    )
