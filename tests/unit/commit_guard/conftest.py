"""Guards before a catalog in memory."""

from collections.abc import Callable
from pathlib import Path

import pytest
from memory_catalog import CATALOG_URI, MemoryCatalog
from starlette.applications import Starlette

from commit_guard.app import create_app
from settings import Settings


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_for(CATALOG_URI, tmp_path_factory.mktemp("home"))


def settings_for(catalog_uri: str, home: Path) -> Settings:
    unused = "not-used-by-these-tests"
    return Settings(
        home=home,
        toolchain=home,
        catalog_uri=catalog_uri,
        s3_access_key=unused,
        s3_secret_key=unused,
        redis_password=unused,
        api_key=unused,
        _env_file=None,
    )


@pytest.fixture
def catalog() -> MemoryCatalog:
    return MemoryCatalog()


@pytest.fixture
def new_guard(settings: Settings, catalog: MemoryCatalog) -> Callable[[], Starlette]:
    """Return a way to make guards side by side, all before the same catalog."""
    return lambda: create_app(settings, transport=catalog)


@pytest.fixture
def guard(new_guard: Callable[[], Starlette]) -> Starlette:
    return new_guard()
