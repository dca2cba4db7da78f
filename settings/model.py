"""Settings of the platform: environment variables ``LAKEHOUSE_*``, locally also ``<home>/local.env``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts import LakehouseError
from settings.access import TokenSettings, check_origin, parse_rate
from settings.spark import KubernetesSettings, SparkMode, spark_mode

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder that the packages are installed in."""


SHORTEST_SECRET = 16
"""Characters; what people type in a hurry is shorter."""


class SettingsError(LakehouseError):
    """A setting is missing or wrong; the message names its environment variable."""


class LocalPorts(BaseModel):
    """Ports of the local stack on 127.0.0.1; the first seven are those that people open or connect to."""

    api: int = 8000
    dagster: int = 3000
    flink: int = 8081
    kafka: int = 9092
    catalog: int = 8181
    s3: int = 8333
    redis: int = 6379
    guard: int = 8182
    kafka_controller: int = 9093
    flink_rpc: int = 6123
    hot_view_metrics: int = 9101
    api_metrics: int = 9102
    dagster_code: int = 4000
    store_master: int = 9333
    store_master_grpc: int = 19333
    store_volume: int = 9340
    store_volume_grpc: int = 19340
    store_filer: int = 8888
    store_filer_grpc: int = 18888
    store_s3_grpc: int = 18333


class Settings(BaseSettings):
    """Addresses, credentials and sizes, each from ``LAKEHOUSE_<NAME>``.

    An address that is not set is the local one, on the port that ``LAKEHOUSE_PORTS__<NAME>`` gives.

    Secrets have no default. Locally ``./lakehouse up`` generates them into ``<home>/local.env``, which is read
    where the environment does not say otherwise; in a cluster they come from the environment alone.
    """

    model_config = SettingsConfigDict(
        env_prefix="LAKEHOUSE_",
        env_nested_delimiter="__",
        env_file_encoding="utf-8",
        extra="ignore",
        populate_by_name=True,
    )

    home: Path
    toolchain: Path

    ports: LocalPorts = LocalPorts()

    kafka_bootstrap_servers: str = ""
    kafka_replication: int = Field(default=1, ge=1)

    s3_endpoint: str = ""
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    warehouse: str = "s3://warehouse"
    checkpoint_location: str = "s3://flink"
    report_location: str = "s3://reports"
    catalog_name: str = "lakehouse"
    catalog_uri: str = ""
    guard_host: str = "127.0.0.1"
    guard_port: int = 0
    guard_url: str = ""
    """Address of the commit guard: Flink's only way to the catalog."""
    guard_upstream: str = ""
    """Address of the catalog as the guard reaches it; by default ``catalog_uri``."""
    commit_retries: int = Field(default=20, ge=10)

    flink_url: str = ""
    flink_parallelism: int = Field(default=1, ge=1)
    checkpoint_interval_s: float = Field(default=10, gt=0)

    redis_host: str = "127.0.0.1"
    redis_port: int = 0
    redis_password: SecretStr
    hot_view_metrics_port: int = 0

    dagster_url: str = ""
    alert_webhook_url: SecretStr | None = None
    """Gets a JSON object for each run that failed; secret, since those of chat services are."""
    automation_backfill: Literal["offer", "start"] = "offer"
    """What follows on a changed contract or query of a gold table: a line that says how to compute its days again,
    or the runs that do."""

    silver_check_interval_s: float = Field(default=300, ge=30)
    """Silver tables with new rows are checked at most once in each interval of this length. Each time takes a run
    of Dagster, and freshness warns no sooner either."""

    api_host: str = "127.0.0.1"
    api_port: int = 0
    api_key: SecretStr
    """May read everything; ``./lakehouse keys`` makes others."""
    api_keys_file: Path = Path()
    """Hashes of those; by default ``<home>/api-keys.json``."""
    api_workers: int = Field(default=1, ge=1)
    api_metrics_port: int = 0
    """Of the first worker; each further one serves its own metrics on the next port."""
    api_max_rows: int = Field(default=10_000, ge=1)
    api_read_threads: int = Field(default=4, ge=1)
    api_max_streams: int = Field(default=4, ge=1)
    """Answers with all rows that one process sends at once; each takes some ten megabytes of memory."""
    api_file_list_cache: ByteSize = ByteSize(64 << 20)
    """Memory of one process for the files of snapshots: some 12,000 files; 0 keeps none, as with the others."""
    api_batch_cache: ByteSize = ByteSize(256 << 20)
    """Memory of one process for the columns of small data files."""
    api_answer_cache: ByteSize = ByteSize(32 << 20)
    """Memory of one process for finished answers."""
    api_shared_answer_cache: ByteSize = ByteSize(32 << 20)
    """Redis' memory for those, for all processes: less than what it has beside the hot view."""
    api_query_timeout_s: float = Field(default=30, gt=0)
    """How long a query may read before it is cancelled; of an answer in pieces, each of them."""
    api_rate_limit: str = "6000/minute"
    """Requests of a key that was made without ``--rate``, or of the holder of tokens; ``unlimited`` for none."""
    api_tokens: TokenSettings = TokenSettings()
    api_cors_origins: tuple[str, ...] = ()
    """Origins of pages, as a JSON list, whose scripts browsers let read answers; ``["*"]`` for all."""

    otlp_endpoint: str = Field(
        default="", validation_alias=AliasChoices("LAKEHOUSE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    )
    """Base address of a collector for traces over OTLP/HTTP, as ``http://127.0.0.1:4318``; none without."""

    java_home: Path | None = None
    spark_master: str = "local[2]"
    """``local[N]``, ``spark://HOST:PORT``, ``k8s://https://HOST:PORT`` or ``sc://HOST:PORT`` (Spark Connect)."""
    spark_driver_memory: str = "1g"
    spark_driver_host: str = ""
    """Address of this machine or pod that executors elsewhere connect to; by default what Spark takes it for."""
    spark_kubernetes: KubernetesSettings = KubernetesSettings()
    spark_conf: dict[str, str] = {}
    """Properties of Spark itself, as a JSON object; they come last. No secrets: the process list shows them."""

    @field_validator("s3_access_key", "s3_secret_key", "redis_password", "api_key")
    @classmethod
    def _refuse_short_secrets(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(f"a secret has at least {SHORTEST_SECRET} characters")
        return secret

    @field_validator("alert_webhook_url")
    @classmethod
    def _refuse_other_schemes(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        if not url.get_secret_value().startswith(("http://", "https://")):
            raise ValueError("a webhook begins with http:// or https://")
        return url

    @field_validator("api_rate_limit")
    @classmethod
    def _refuse_other_rates(cls, rate: str) -> str:
        parse_rate(rate)
        return rate

    @field_validator("api_cors_origins")
    @classmethod
    def _refuse_other_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_origin(origin) for origin in origins)

    @field_validator("otlp_endpoint")
    @classmethod
    def _refuse_other_endpoints(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("a collector's address begins with http:// or https://: OTLP over gRPC is not spoken")
        return url

    @field_validator("spark_master")
    @classmethod
    def _refuse_other_masters(cls, master: str) -> str:
        spark_mode(master)
        return master

    @model_validator(mode="after")
    def _complete_kubernetes(self) -> Self:
        needed = {
            "LAKEHOUSE_SPARK_KUBERNETES__IMAGE": self.spark_kubernetes.image,
            "LAKEHOUSE_SPARK_DRIVER_HOST": self.spark_driver_host,
        }
        missing = [name for name, value in needed.items() if not value]
        if self.spark_mode is SparkMode.KUBERNETES and missing:
            raise ValueError(f"Spark on Kubernetes needs {' and '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _local_addresses(self) -> Self:
        ports = self.ports
        self.kafka_bootstrap_servers = self.kafka_bootstrap_servers or f"127.0.0.1:{ports.kafka}"
        self.s3_endpoint = self.s3_endpoint or f"http://127.0.0.1:{ports.s3}"
        self.catalog_uri = self.catalog_uri or f"http://127.0.0.1:{ports.catalog}"
        self.guard_upstream = self.guard_upstream or self.catalog_uri
        self.guard_port = self.guard_port or ports.guard
        self.guard_url = self.guard_url or f"http://{self.guard_host}:{self.guard_port}"
        self.flink_url = self.flink_url or f"http://127.0.0.1:{ports.flink}"
        self.dagster_url = self.dagster_url or f"http://127.0.0.1:{ports.dagster}"
        self.hot_view_metrics_port = self.hot_view_metrics_port or ports.hot_view_metrics
        self.redis_port = self.redis_port or ports.redis
        self.api_port = self.api_port or ports.api
        if self.api_keys_file == Path():
            self.api_keys_file = self.home / "api-keys.json"
        self.api_metrics_port = self.api_metrics_port or ports.api_metrics
        return self

    @property
    def spark_mode(self) -> SparkMode:
        """Where a Spark session runs."""
        return spark_mode(self.spark_master)

    @property
    def api_url(self) -> str:
        """Base address of the API."""
        return f"http://{self.api_host}:{self.api_port}"

    @property
    def api_metrics_ports(self) -> range:
        """Ports that the API's workers serve their metrics on."""
        return range(self.api_metrics_port, self.api_metrics_port + self.api_workers)

    @property
    def local_env(self) -> Path:
        """File with the generated secrets and addresses of a local stack."""
        return self.home / "local.env"


def home_folder() -> Path:
    """Folder that holds all state: ``LAKEHOUSE_HOME``, else ``.lakehouse`` in the checkout."""
    return Path(os.environ.get("LAKEHOUSE_HOME") or ROOT / ".lakehouse").resolve()


def load_settings() -> Settings:
    """Read the settings once from the environment and, locally, from ``<home>/local.env``.

    Raises:
        SettingsError: a setting is missing or invalid.
    """
    home = home_folder()
    toolchain = os.environ.get("LAKEHOUSE_TOOLCHAIN") or home / "toolchain"
    try:
        return Settings(home=home, toolchain=Path(toolchain), _env_file=home / "local.env")
    except ValidationError as error:
        problems = error.errors()
        missing = any(problem["type"] == "missing" for problem in problems)
        remedy = "`./lakehouse up` generates what a local stack needs" if missing else "correct or unset them"
        raise SettingsError(f"settings do not hold ({remedy}): {'; '.join(map(_explained, problems))}") from error


def _explained(problem: "ErrorDetails") -> str:
    """A problem with the variable that causes it; one of several names them itself."""
    if not problem["loc"]:
        return problem["msg"]
    name = "__".join(str(part) for part in problem["loc"]).upper()
    # of a setting that has several names, the one that was used
    prefix = "" if name.startswith(("LAKEHOUSE_", "OTEL_")) else "LAKEHOUSE_"
    return f"{prefix}{name}: {problem['msg']}"
