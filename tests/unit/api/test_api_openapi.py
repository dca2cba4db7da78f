"""The OpenAPI document: valid, complete, and its examples work."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from api.problems import Problem
from api.rows.schemas import rows_model
from api.tables.schemas import TableDetail, TableList
from contracts import Table, served_tables
from contracts import table as contract

MODELS: list[type[BaseModel]] = [Problem, TableList, TableDetail, *map(rows_model, served_tables())]


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def test_every_reference_leads_to_a_valid_schema(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    references = {node["$ref"] for node in walk(document) if isinstance(node.get("$ref"), str)}
    assert references
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= schemas.keys()
    for _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            Draft202012Validator.check_schema(parameter["schema"])


def test_operations_have_a_summary_a_description_and_their_own_id(document: dict[str, Any]) -> None:
    identifiers = [operation["operationId"] for _, operation in operations(document)]
    assert len(identifiers) == len(set(identifiers))
    for path, operation in operations(document):
        assert operation["summary"], path
        assert operation["description"], path
        names = [parameter["name"] for parameter in operation.get("parameters", [])]
        assert len(names) == len(set(names)), path
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), path


def test_errors_are_documented_as_problems_with_an_example(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status != "200":
                content = answer["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}, path
                assert Problem.model_validate(content["example"]).status == int(status)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_examples_fit_their_model(document: dict[str, Any], model: type[BaseModel]) -> None:
    schema = document["components"]["schemas"][model.__name__]
    validator = Draft202012Validator({**schema, "components": document["components"]})
    assert schema["examples"]
    for example in schema["examples"]:
        model.model_validate(example)
        validator.validate(example)


@pytest.mark.parametrize("table", served_tables(), ids=lambda table: table.identifier)
def test_rows_document_each_column_with_unit_and_meaning(document: dict[str, Any], table: Table) -> None:
    answer = document["paths"][f"/v1/tables/{table.identifier}/rows"]["get"]["responses"]["200"]
    rows = document["components"]["schemas"][
        answer["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
    ]
    row = document["components"]["schemas"][rows["properties"]["rows"]["items"]["$ref"].split("/")[-1]]
    assert list(row["properties"]) == [column.name for column in table.columns]
    for column in table.columns:
        described = row["properties"][column.name]
        assert column.meaning in described["description"]
        assert described.get("x-unit") == column.unit
        assert ("anyOf" in described) == column.nullable
        assert "default" not in described
    # a row has the columns that were asked for, so none is certain
    assert not row.get("required")


def test_answers_fit_the_documented_schemas(document: dict[str, Any], client: TestClient) -> None:
    for path in (
        "/v1/tables",
        "/v1/tables/{identifier}",
        "/v1/tables/bronze.traffic_events/rows",
        "/health/ready",
    ):
        schema = document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        validator = Draft202012Validator({**schema, "components": document["components"]})
        validator.validate(client.get(path.format(identifier="bronze.traffic_events")).json())


@pytest.mark.parametrize("table", served_tables(), ids=lambda table: table.identifier)
def test_every_documented_parameter_works_with_its_example(
    document: dict[str, Any], client: TestClient, table: Table
) -> None:
    path = f"/v1/tables/{table.identifier}/rows"
    for parameter in document["paths"][path]["get"]["parameters"]:
        if parameter["name"] == "cursor":
            continue  # comes from an answer, never from a document
        if parameter["name"] == "filters":
            sent = parameter["example"]
            assert sent.keys() <= parameter["schema"]["properties"].keys()
        else:
            schema = parameter["schema"]
            sent = {parameter["name"]: schema["examples"][0] if "examples" in schema else schema["default"]}
        answer = client.get(path, params=sent)
        assert answer.status_code == 200, answer.text


def test_every_documented_operator_form_is_accepted(document: dict[str, Any], client: TestClient) -> None:
    table = contract("bronze.traffic_events")
    path = f"/v1/tables/{table.identifier}/rows"
    parameters = {parameter["name"]: parameter for parameter in document["paths"][path]["get"]["parameters"]}
    forms = parameters["filters"]["schema"]["properties"]
    texts = sum(column.type == "string" for column in table.columns)
    assert len(forms) == 9 * len(table.columns) + texts
    sent = {}
    for form in forms:
        column, _, operator = form.rpartition("__")
        example = parameters[column]["schema"]["examples"][0]
        sent[form] = {"is_null": "true", "between": f"{example},{example}"}.get(operator, example)
    assert client.get(path, params=sent).status_code == 200


def test_the_command_in_the_description_works(document: dict[str, Any], client: TestClient) -> None:
    match = re.search(r'"http://127\.0\.0\.1:8000(/[^"]+)"', document["info"]["description"])
    assert match is not None
    assert client.get(match.group(1)).status_code == 200
