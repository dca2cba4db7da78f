"""The exposures in the asset graph are what the API serves: each route, and the tables that it really reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pyarrow import fs
from pyiceberg.catalog.sql import SqlCatalog

from api.app import create_app
from api.catalog import CatalogReader
from contracts import Dataset, DatasetKind, all_datasets, families, quality_results, served_tables
from settings import Settings
from tests.unit.api.conftest import KEY

EXPOSURES = [declared for declared in all_datasets() if declared.kind is DatasetKind.API]
PROBES = {"/health/live", "/health/ready"}
"""They answer with no data."""
ABOUT_EACH_TABLE = {"/v1/tables", "/v1/tables/{identifier}"}
SAMPLE = {"identifier": "gold.traffic_hourly", "sensor_id": "traffic-0001"}


@pytest.fixture(scope="module")
def without_redis(settings: Settings, catalog: SqlCatalog, store_folder: Path) -> Iterator[TestClient]:
    """The API where a stream of live values ends at once."""
    unreachable = settings.model_copy(update={"redis_port": 1})
    store = fs.SubTreeFileSystem(str(store_folder), fs.LocalFileSystem())
    app = create_app(unreachable, catalog_factory=lambda _: catalog, store_factory=lambda _: store)
    with TestClient(app, headers={"X-API-Key": KEY}) as client:
        yield client


def test_every_route_has_an_exposure_and_the_other_way_round(app: FastAPI) -> None:
    exposed = {route for exposure in EXPOSURES for route in exposure.routes}
    assert exposed == app.openapi()["paths"].keys() - PROBES
    assert exposed > ABOUT_EACH_TABLE


def test_a_route_of_its_own_belongs_to_one_exposure() -> None:
    routes = [route for exposure in EXPOSURES for route in exposure.routes if route not in ABOUT_EACH_TABLE]
    assert len(routes) == len(set(routes))
    tables = [declared.name for declared in EXPOSURES if {*declared.routes} >= ABOUT_EACH_TABLE]
    assert tables == [table.identifier for table in served_tables()]


@pytest.mark.parametrize("exposure", EXPOSURES, ids=lambda exposure: exposure.name)
def test_the_tables_that_a_route_reads_are_upstream_of_its_exposure(
    exposure: Dataset, without_redis: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: set[str] = set()
    load = CatalogReader.table

    async def recorded(reader: CatalogReader, identifier: str) -> Any:
        loaded.add(identifier)
        return await load(reader, identifier)

    monkeypatch.setattr(CatalogReader, "table", recorded)
    for route in {*exposure.routes} - ABOUT_EACH_TABLE:
        # there is no report
        assert without_redis.get(route.format(**SAMPLE)).status_code in {200, 404, 503}
    upstream = {origin for origin in exposure.derived_from if ":" not in origin}
    # any answer says of its table what the checks found
    assert loaded | {quality_results().identifier} == upstream | {quality_results().identifier}


@pytest.mark.parametrize("member", families(), ids=lambda member: member.name)
def test_live_values_come_from_the_hot_view(member: Any) -> None:
    by_name = {exposure.name: exposure for exposure in EXPOSURES}
    for name in (f"{member.name}.latest", f"{member.name}.windows"):
        assert f"hot_view:{member.name}" in by_name[name].derived_from


@pytest.mark.parametrize(
    # the answer about checks is nested, and has names of its own
    "exposure",
    [each for each in EXPOSURES if each.name != "quality"],
    ids=lambda exposure: exposure.name,
)
def test_an_exposure_has_the_columns_that_the_api_documents(exposure: Dataset, app: FastAPI) -> None:
    document = app.openapi()
    rows = next(route for route in exposure.routes if route.rpartition("/")[2] in {"rows", "latest", "windows"})
    answer = document["paths"][rows]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert columns(document, answer) - {"source"} == {column.name for column in exposure.columns}


def columns(document: dict[str, Any], answer: dict[str, Any]) -> set[str]:
    """Columns of all the lists of rows in an answer."""
    schemas = document["components"]["schemas"]
    fields = schemas[answer["$ref"].rpartition("/")[2]]["properties"].values()
    references = [field["items"]["$ref"] for field in fields if "$ref" in field.get("items", {})]
    assert references
    return {name for each in references for name in schemas[each.rpartition("/")[2]]["properties"]}
