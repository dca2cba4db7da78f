"""Dependencies point one way, and no environment imports what it does not have."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    "contracts": {"contracts"},
    "settings": {"contracts", "settings"},
    "resources": {"contracts", "settings", "resources"},
    "streaming": {"contracts", "settings", "streaming"},
    "sources": {"contracts", "settings", "resources", "sources"},
    "commit_guard": {"contracts", "settings", "resources", "commit_guard"},
    "dead_letters": {"contracts", "settings", "resources", "dead_letters"},
    "hot_view": {"contracts", "settings", "resources", "hot_view"},
    "audit": {"contracts", "settings", "resources", "audit"},
    "maintenance": {"contracts", "settings", "resources", "maintenance"},
    "lakehouse_assets": {"contracts", "settings", "resources", "audit", "maintenance", "lakehouse_assets"},
    "api": {"contracts", "settings", "resources", "api"},
    # what users install without the rest
    "client": {"client"},
    "benchmarks": {
        "contracts",
        "settings",
        "resources",
        "sources",
        "lakehouse_assets",
        "api",
        "stack",
        "benchmarks",
    },
    # its command line registers the commands of the others
    "stack": {
        "contracts",
        "settings",
        "resources",
        "sources",
        "audit",
        "dead_letters",
        "maintenance",
        "benchmarks",
        "stack",
    },
}
OURS = set(ALLOWED)
FORBIDDEN = {
    "contracts": {"pyiceberg", "pyarrow", "dagster", "pyspark", "pyflink", "pydantic", "confluent_kafka"},
    "streaming": {"pyiceberg", "pyarrow", "dagster", "pyspark"},
    "api": {"dagster", "pyspark", "pyflink"},
    "resources": {"dagster", "pyflink"},
}


def imports(package: str) -> Iterator[tuple[Path, str]]:
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                yield path, node.module.split(".")[0]


@pytest.mark.parametrize("package", sorted(OURS))
def test_dependencies_point_one_way(package: str) -> None:
    found = list(imports(package))
    assert found
    assert [pair for pair in found if pair[1] in OURS - ALLOWED[package]] == []
    assert [pair for pair in found if pair[1] in FORBIDDEN.get(package, set())] == []
