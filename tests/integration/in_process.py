"""Runs of assets and checks in the process of the tests, on the one Spark session that they share."""

from datetime import date
from types import SimpleNamespace

import dagster as dg

from lakehouse_assets.connections import catalog_resource
from resources.spark import open_session
from settings import Settings


def materialize(
    settings: Settings,
    asset: dg.AssetsDefinition,
    first: date,
    last: date,
    *,
    raise_on_error: bool = True,
    spark: object = None,
) -> dg.ExecuteInProcessResult:
    """Run ``asset`` with its check for the days ``first`` to ``last`` as one run.

    ``spark`` is the resource with the session, by default that of the tests: the platform's own stops its session
    at the end of a run.
    """
    job = dg.Definitions(
        assets=[asset],
        jobs=[dg.define_asset_job("one", dg.AssetSelection.assets(asset.key))],
        resources={
            "settings": settings,
            "catalog": catalog_resource,
            "spark": spark or SimpleNamespace(spark_session=open_session(settings)),
        },
    ).resolve_job_def("one")
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(
            instance=instance,
            raise_on_error=raise_on_error,
            tags={
                "dagster/asset_partition_range_start": first.isoformat(),
                "dagster/asset_partition_range_end": last.isoformat(),
            },
        )


def evaluate(
    settings: Settings, check: dg.AssetChecksDefinition, key: dg.AssetCheckKey | None = None
) -> dg.AssetCheckEvaluation:
    """Run ``check`` on the tables of the stack, and return what it says; ``key`` names one of several."""
    job = dg.Definitions(
        asset_checks=[check],
        jobs=[dg.define_asset_job("one", dg.AssetSelection.checks(check if key is None else key))],
        resources={"settings": settings, "catalog": catalog_resource},
    ).resolve_job_def("one")
    with dg.DagsterInstance.ephemeral() as instance:
        [evaluation] = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    return evaluation
