from pathlib import Path

import pytest

from settings import Settings, load_settings


@pytest.fixture
def offline_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings whose broker does not exist."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("LAKEHOUSE_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "REDIS_PASSWORD", "API_KEY"):
        monkeypatch.setenv(f"LAKEHOUSE_{name}", "0123456789abcdef")
    return load_settings()
