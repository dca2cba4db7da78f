"""Settings of the platform: environment variables ``LAKEHOUSE_*``, locally also ``<home>/local.env``."""

import os
from enum import StrEnum
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the folder that the packages are installed in."""


class SettingsError(RuntimeError):
    """A setting is missing or wrong; the message names its environment variable."""


class Environment(StrEnum):
    """Where the platform runs; secrets are generated only locally."""

    LOCAL = "local"
    CLUSTER = "cluster"


class Settings(BaseSettings):
    """Addresses, credentials and sizes, each from ``LAKEHOUSE_<NAME>``.

    Secrets have no default. Locally ``./lakehouse up`` generates them into ``<home>/local.env``, which is read
    where the environment does not say otherwise; in a cluster they come from the environment alone.
    """

    model_config = SettingsConfigDict(env_prefix="LAKEHOUSE_", env_file_encoding="utf-8", extra="ignore")

    home: Path
    environment: Environment = Environment.LOCAL

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_replication: int = Field(default=1, ge=1)

    s3_endpoint: str = "http://127.0.0.1:8333"
    s3_region: str = "us-east-1"
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    warehouse: str = "s3://warehouse"
    checkpoint_location: str = "s3://flink"
    catalog_name: str = "lakehouse"
    catalog_uri: str = "http://127.0.0.1:8181"
    commit_retries: int = Field(default=20, ge=10)

    flink_url: str = "http://127.0.0.1:8081"
    flink_parallelism: int = Field(default=1, ge=1)
    checkpoint_interval_s: float = Field(default=10, gt=0)

    redis_host: str = "127.0.0.1"
    redis_port: int = 6379
    redis_password: SecretStr

    dagster_url: str = "http://127.0.0.1:3000"

    api_host: str = "127.0.0.1"
    api_port: int = 8000
    api_key: SecretStr
    api_workers: int = Field(default=1, ge=1)
    api_max_rows: int = Field(default=10_000, ge=1)
    api_read_threads: int = Field(default=4, ge=1)

    spark_master: str = "local[2]"
    spark_driver_memory: str = "1g"
    first_partition: str = "2000-01-01"

    @field_validator("s3_access_key", "s3_secret_key", "redis_password", "api_key")
    @classmethod
    def _refuse_placeholders(cls, secret: SecretStr) -> SecretStr:
        value = secret.get_secret_value()
        if len(value) < 16 or value.lower() in {"changeme-changeme", "placeholder-secret"}:
            raise ValueError("a secret has at least 16 characters")
        return secret

    @property
    def api_url(self) -> str:
        """Base address of the API."""
        return f"http://{self.api_host}:{self.api_port}"

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
    try:
        return Settings(home=home, _env_file=home / "local.env")  # type: ignore[call-arg]
    except ValidationError as error:
        lines = [
            f"LAKEHOUSE_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise SettingsError(
            "settings are incomplete (`./lakehouse up` generates them for a local stack): " + "; ".join(lines)
        ) from error
