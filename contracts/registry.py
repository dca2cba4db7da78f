"""Finds the families: every module of :mod:`contracts.sensor_families` that declares ``FAMILY``."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from typing import TypeVar

import contracts.sensor_families
from contracts.city import anomalies, city_hourly, sensor_health
from contracts.datasets import Dataset, datasets
from contracts.errors import ContractError
from contracts.model import Family, Table
from contracts.quality import quality_results
from contracts.stream_tables import stream_tables
from contracts.tables import family_tables

D = TypeVar("D")


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
    return _known("family", name, {declared.name: declared for declared in families()})


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
    return _known("dataset", identifier, {declared.identifier: declared for declared in all_datasets()})


def table(identifier: str) -> Table:
    """Return the table ``namespace.name``.

    Raises:
        ContractError: no contract declares it.
    """
    return _known("table", identifier, {declared.identifier: declared for declared in all_tables()})


def _known(kind: str, name: str, by_name: Mapping[str, D]) -> D:
    if name not in by_name:
        raise ContractError(f"unknown {kind} {name!r}: choose one of {', '.join(by_name)}")
    return by_name[name]
