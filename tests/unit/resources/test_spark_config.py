"""The configuration of a Spark session, for each place that Spark can run at."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from pyspark.errors import AnalysisException, PySparkImportError

from resources import hadoop
from resources.spark import SparkSetupError, connect_catalog, spark_config
from settings import Settings, SettingsError, SparkMode, load_settings

KEY = "a-secret-of-the-test"
CLUSTER = "k8s://https://10.0.0.1:6443"


def settings(home: Path, **others: Any) -> Settings:
    (home / "jars" / "spark").mkdir(parents=True, exist_ok=True)
    for name in ("iceberg.jar", "aws.jar"):
        (home / "jars" / "spark" / name).touch()
    secrets = dict.fromkeys(("s3_access_key", "s3_secret_key", "redis_password", "api_key"), SecretStr(KEY))
    return Settings(home=home, toolchain=home, _env_file=None, **secrets, **others)


@pytest.mark.parametrize(
    ("master", "mode"),
    [
        ("local", SparkMode.LOCAL),
        ("local[4]", SparkMode.LOCAL),
        ("local[*]", SparkMode.LOCAL),
        ("spark://master:7077", SparkMode.STANDALONE),
        ("spark://a.example:7077,[fd00::1]:7077", SparkMode.STANDALONE),
        (CLUSTER, SparkMode.KUBERNETES),
        ("sc://spark.example", SparkMode.CONNECT),
        ("sc://spark.example:15002/;use_ssl=true;token=abc", SparkMode.CONNECT),
    ],
)
def test_a_master_says_where_spark_runs(master: str, mode: SparkMode, tmp_path: Path) -> None:
    kubernetes: dict[str, Any] = {"spark_kubernetes": {"image": "spark:4.1"}, "spark_driver_host": "10.1.2.3"}
    assert settings(tmp_path, spark_master=master, **kubernetes).spark_mode is mode


@pytest.mark.parametrize(
    "master",
    ["", "yarn", "local[0]", "local[two]", "spark://master", "k8s://10.0.0.1", "sc:/spark.example", "local[2] "],
)
def test_another_master_is_refused_with_what_can_be_said(master: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"local\[N\] .* spark://HOST:PORT .* k8s://https://.* sc://HOST"):
        settings(tmp_path, spark_master=master)


def test_the_message_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "REDIS_PASSWORD", "API_KEY"):
        monkeypatch.setenv(f"LAKEHOUSE_{name}", KEY)
    monkeypatch.setenv("LAKEHOUSE_SPARK_MASTER", "sc:/host/;token=geheim")
    with pytest.raises(SettingsError, match="LAKEHOUSE_SPARK_MASTER: ") as error:
        load_settings()
    assert "geheim" not in str(error.value)
    monkeypatch.setenv("LAKEHOUSE_SPARK_MASTER", CLUSTER)
    with pytest.raises(
        SettingsError, match="needs LAKEHOUSE_SPARK_KUBERNETES__IMAGE and LAKEHOUSE_SPARK_DRIVER_HOST"
    ):
        load_settings()
    monkeypatch.setenv("LAKEHOUSE_SPARK_KUBERNETES__IMAGE", "spark:4.1")
    monkeypatch.setenv("LAKEHOUSE_SPARK_DRIVER_HOST", "10.1.2.3")
    monkeypatch.setenv("LAKEHOUSE_SPARK_CONF", '{"spark.executor.instances": "4"}')
    found = load_settings()
    assert (found.spark_kubernetes.image, found.spark_conf) == ("spark:4.1", {"spark.executor.instances": "4"})


def test_locally_the_jars_are_on_the_class_path_and_nothing_listens_elsewhere(tmp_path: Path) -> None:
    config = spark_config(settings(tmp_path))
    jars = tmp_path / "jars" / "spark"
    assert config["spark.master"] == "local[2]"
    assert config["spark.driver.extraClassPath"] == f"{hadoop.DEFAULTS}:{jars}/aws.jar:{jars}/iceberg.jar"
    assert "spark.jars" not in config
    assert config["spark.driver.host"] == config["spark.driver.bindAddress"] == "127.0.0.1"


def test_a_standalone_master_gets_the_jars_from_the_driver(tmp_path: Path) -> None:
    config = spark_config(settings(tmp_path, spark_master="spark://master:7077"))
    jars = tmp_path / "jars" / "spark"
    assert config["spark.jars"] == f"file://{jars}/aws.jar,file://{jars}/iceberg.jar"
    # what Spark takes this machine's address to be, and as many tasks as the cluster has room for
    assert not config.keys() & {"spark.driver.host", "spark.driver.bindAddress", "spark.sql.shuffle.partitions"}
    told = spark_config(
        settings(tmp_path, spark_master="spark://master:7077", spark_driver_host="10.1.2.3", spark_conf={"a": "b"})
    )
    assert told == config | {"spark.driver.host": "10.1.2.3", "a": "b"}


def test_on_kubernetes_executors_are_pods_of_the_image_that_find_their_driver(tmp_path: Path) -> None:
    config = spark_config(
        settings(
            tmp_path,
            spark_master=CLUSTER,
            spark_driver_host="10.1.2.3",
            spark_kubernetes={
                "image": "spark:4.1",
                "namespace": "city",
                "service_account": "executors",
                "driver_pod": "run-1",
            },
            spark_conf={"spark.executor.instances": "4"},
        )
    )
    expected = {
        "spark.master": CLUSTER,
        "spark.driver.host": "10.1.2.3",
        "spark.kubernetes.container.image": "spark:4.1",
        "spark.kubernetes.namespace": "city",
        "spark.kubernetes.authenticate.executor.serviceAccountName": "executors",
        "spark.kubernetes.driver.pod.name": "run-1",
        "spark.executor.instances": "4",
    }
    assert config.items() >= expected.items()
    assert config["spark.jars"].count("file://") == 2
    assert not config.keys() & {"spark.driver.bindAddress", "spark.local.dir"}


@pytest.mark.parametrize("master", ["local[2]", "spark://master:7077"])
def test_no_secret_is_in_the_configuration(master: str, tmp_path: Path) -> None:
    assert KEY not in str(spark_config(settings(tmp_path, spark_master=master)))


def test_without_jars_it_says_what_fetches_them(tmp_path: Path) -> None:
    bare = settings(tmp_path)
    for jar in (tmp_path / "jars" / "spark").iterdir():
        jar.unlink()
    with pytest.raises(SparkSetupError, match="lakehouse up"):
        spark_config(bare)


def test_a_connect_server_has_jars_and_resources_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyspark.sql.connect.utils.check_dependencies", lambda _module: None)
    config = spark_config(settings(tmp_path, spark_master="sc://spark.example:15002"))
    assert config == {"spark.remote": "sc://spark.example:15002", "spark.sql.session.timeZone": "UTC"}


def test_an_environment_without_the_client_of_connect_is_told_what_to_add(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(_module: str) -> None:
        raise PySparkImportError(
            errorClass="PACKAGE_NOT_INSTALLED",
            messageParameters={"package_name": "grpcio-status", "minimum_version": "1.48.1"},
        )

    monkeypatch.setattr("pyspark.sql.connect.utils.check_dependencies", missing)
    with pytest.raises(SparkSetupError, match=r"grpcio-status .*pyspark\[connect\]==4.* or name another master"):
        spark_config(settings(tmp_path, spark_master="sc://spark.example"))


def test_a_connect_server_that_cannot_open_the_catalog_is_told_what_it_lacks(tmp_path: Path) -> None:
    told: dict[str, str] = {}

    def refuse(_statement: str) -> None:
        raise AnalysisException("Cannot find catalog plugin class\nat line 1")

    session: Any = SimpleNamespace(conf=SimpleNamespace(set=told.__setitem__), sql=refuse)
    with pytest.raises(SparkSetupError, match=r"plugin class\): it needs the jars that locks/jars.txt names"):
        connect_catalog(session, settings(tmp_path, spark_master="sc://spark.example"))
    assert told["spark.sql.catalog.lakehouse"] == "org.apache.iceberg.spark.SparkCatalog"
    # a session of our own opens it with its first statement
    connect_catalog(session, settings(tmp_path))
