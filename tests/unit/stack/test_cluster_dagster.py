"""Dagster on Kubernetes, as far as it needs no cluster: its configuration loads, and runs get what Spark needs."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import kubernetes
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster_k8s import K8sRunLauncher
from dagster_k8s.job import construct_dagster_k8s_job
from dagster_postgres import DagsterPostgresStorage

from settings.model import ROOT

CLUSTER = ROOT / "docker" / "kubernetes" / "dagster.yaml"
VARIABLES = {
    "DAGSTER_POSTGRES_HOST": "db.example",
    "DAGSTER_POSTGRES_USER": "dagster",
    "DAGSTER_POSTGRES_PASSWORD": "p@w",
    "DAGSTER_POSTGRES_DB": "runs",
    "LAKEHOUSE_IMAGE": "registry.example/lakehouse:1",
    "LAKEHOUSE_NAMESPACE": "city",
}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstanceRef:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(kubernetes.config, "load_incluster_config", lambda: None)
    shutil.copy(CLUSTER, tmp_path / "dagster.yaml")
    return InstanceRef.from_dir(str(tmp_path))


def test_only_storage_and_launcher_differ_from_the_local_instance() -> None:
    cluster, local = (yaml.safe_load(path.read_text()) for path in (CLUSTER, ROOT / "dagster.yaml"))
    assert cluster.keys() - local.keys() == {"storage", "run_launcher"}
    assert {name: cluster[name] for name in local} == local


def test_all_is_kept_in_postgres(instance: InstanceRef, monkeypatch: pytest.MonkeyPatch) -> None:
    def remember(self: Any, postgres_url: str, **_others: Any) -> None:
        self.url = postgres_url

    monkeypatch.setattr(DagsterPostgresStorage, "__init__", remember)  # the real one connects
    storage: Any = instance.storage
    assert storage.url == "postgresql://dagster:p%40w@db.example:5432/runs"


def test_a_run_is_a_job_whose_pod_can_be_a_driver(instance: InstanceRef) -> None:
    launcher = instance.run_launcher
    assert isinstance(launcher, K8sRunLauncher)
    context = launcher.get_container_context_for_run(dg.DagsterRun(job_name="gold_daily", run_id="1"))
    job = construct_dagster_k8s_job(
        context.get_k8s_job_config(job_image=None, run_launcher=launcher),
        args=["run"],
        job_name="run-1",
        user_defined_k8s_config=context.run_k8s_config,
    )
    pod = job.spec.template.spec
    [container] = pod.containers
    assert (container.image, pod.service_account_name) == (VARIABLES["LAKEHOUSE_IMAGE"], "lakehouse-runs")
    assert context.namespace == "city"
    from_pod = {each.name: each.value_from.field_ref.field_path for each in container.env if each.value_from}
    assert from_pod == {
        "LAKEHOUSE_SPARK_DRIVER_HOST": "status.podIP",
        "LAKEHOUSE_SPARK_KUBERNETES__DRIVER_POD": "metadata.name",
    }
    given = [each.config_map_ref or each.secret_ref for each in container.env_from]
    assert [each.name for each in given] == ["lakehouse", "lakehouse"]
