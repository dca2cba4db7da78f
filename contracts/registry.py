"""Finds the families: every module of :mod:`contracts.sensor_families` that declares ``FAMILY``."""

import importlib
import pkgutil
from functools import cache

import contracts.sensor_families
from contracts.city import anomalies, city_hourly, sensor_health
from contracts.datasets import Dataset, datasets
from contracts.errors import ContractError
from contracts.model import Family, Table
from contracts.quality import quality_results
from contracts.stream_tables import stream_tables
from contracts.tables import family_tables


@cache
def families() -> tuple[Family, ...]:
    """All families, by name.

    Raises:
        ContractError: a module of ``contracts/sensor_families`` declares no ``FAMILY``.
    """
    found = []
    for module_info in pkgutil.iter_modules(contracts.sensor_families.__path__):
        module = importlib.import_module(f"{contracts.sensor_families.__name__}.{module_info.name}")
        declared = getattr(module, "FAMILY", None)
        if not isinstance(declared, Family):
            raise ContractError(f"contracts/sensor_families/{module_info.name}.py declares no FAMILY")
        found.append(declared)
    return tuple(sorted(found, key=lambda declared: declared.name))


def family(name: str) -> Family:
    """Return the family called ``name``.

    Raises:
        ContractError: no such family; the message lists those that exist.
    """
    for declared in families():
        if declared.name == name:
            return declared
    known = ", ".join(declared.name for declared in families())
    raise ContractError(f"unknown family {name!r}: choose one of {known}")


@cache
def all_tables() -> tuple[Table, ...]:
    """All tables, upstream before downstream."""
    return (
        *(declared for member in families() for declared in family_tables(member)),
        *stream_tables(families()),
        city_hourly(families()),
        sensor_health(families()),
        anomalies(families()),
        quality_results(),
    )


def served_tables() -> tuple[Table, ...]:
    """The tables that the API serves."""
    return tuple(declared for declared in all_tables() if declared.served)


@cache
def all_datasets() -> tuple[Dataset, ...]:
    """All topics, hot views and answers of the API, upstream before downstream."""
    return tuple(datasets(families(), served_tables()))


def dataset(identifier: str) -> Dataset:
    """Return the dataset ``kind:name``.

    Raises:
        ContractError: no contract declares it.
    """
    for declared in all_datasets():
        if declared.identifier == identifier:
            return declared
    known = ", ".join(declared.identifier for declared in all_datasets())
    raise ContractError(f"unknown dataset {identifier!r}: choose one of {known}")


def table(identifier: str) -> Table:
    """Return the table ``namespace.name``.

    Raises:
        ContractError: no contract declares it.
    """
    for declared in all_tables():
        if declared.identifier == identifier:
            return declared
    known = ", ".join(declared.identifier for declared in all_tables())
    raise ContractError(f"unknown table {identifier!r}: choose one of {known}")
