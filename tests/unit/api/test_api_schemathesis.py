"""Requests that schemathesis makes up from the OpenAPI document, valid and not: no answer may be undocumented.

Over real tables and a real server for the hot view. Streams of events have an end here. Who is refused without a
key is tested on its own.
"""

from pathlib import Path

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.latest import events
from api.security import Permission
from tests.unit.api.conftest import KEY
from tests.unit.hot_view.valkey_server import valkey_settings

EXAMPLES = 10
"""Of each operation, valid and not."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]


def documented_operations() -> list[APIOperation]:
    document = create_app(valkey_settings(Path("unused"))).openapi()
    return [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]


OPERATIONS = documented_operations()


@pytest.fixture(autouse=True)
def _streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_longer(_: Permission) -> bool:
        return False

    monkeypatch.setattr(events, "PERMITTED_FOR_S", -1.0)
    monkeypatch.setattr(Permission, "holds", no_longer)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_answers_to_valid_requests_are_documented(operation: APIOperation, live_client: TestClient) -> None:
    exercise(operation, GenerationMode.POSITIVE, live_client)


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if len(each.query) or len(each.path_parameters)],
    ids=lambda operation: operation.label,
)
def test_answers_to_invalid_requests_are_documented(operation: APIOperation, live_client: TestClient) -> None:
    exercise(operation, GenerationMode.NEGATIVE, live_client)


def exercise(operation: APIOperation, mode: GenerationMode, client: TestClient) -> None:
    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_are_documented(case: schemathesis.Case) -> None:
        sent = case.as_transport_kwargs(base_url="http://testserver")
        names = {"method", "url", "params", "json", "data", "cookies"}
        known = {name: value for name, value in sent.items() if name in names}
        # as they travel (RFC 9110, section 5.5): httpx takes text for ASCII
        headers = {name: value.encode("latin-1") for name, value in dict(sent["headers"] or {}).items()}
        answer = client.request(**known, headers={**headers, "X-API-Key": KEY.encode()})
        case.validate_response(answer, checks=CHECKS)

    answers_are_documented()
