"""What checks say on a running stack is kept, served and shown."""

from contextlib import suppress
from datetime import UTC, datetime

import httpx

from contracts import Writer, all_tables, quality_results
from resources.catalog import open_catalog
from resources.dagster_client import DagsterClient, RunFailedError
from settings import Settings

STREAMED = {
    declared.identifier for declared in all_tables() if declared.writer in {Writer.FLINK, Writer.COLLECTOR}
}


def test_the_evaluations_of_a_run_are_kept_and_served(settings: Settings) -> None:
    today = datetime.now(UTC).date()
    with DagsterClient(settings.dagster_url) as client:
        checked = client.launch("streaming_quality")
        with suppress(RunFailedError):  # the audit may find rows that other tests have made up
            client.wait(checked, timeout_s=300)
        for _ in range(2):  # a day that is written again has each evaluation once
            client.wait(client.launch("quality_report", first=today), timeout_s=300)
    rows = open_catalog(settings).load_table(quality_results().identifier).scan().to_arrow().to_pylist()
    of_run = [row["table_name"] for row in rows if row["run_id"] == checked and row["check_name"] == "contract"]
    assert sorted(of_run) == sorted(STREAMED)

    key = {"X-API-Key": settings.api_key.get_secret_value()}
    with httpx.Client(base_url=settings.api_url, headers=key, timeout=60) as api:
        answer = api.get("/v1/quality").raise_for_status().json()
        page = api.get("/v1/quality/report").raise_for_status()
    assert {table["table"] for table in answer["tables"]} >= STREAMED
    assert page.headers["content-type"].startswith("text/html")
    assert all(f"<b>{identifier}</b>" in page.text for identifier in STREAMED)
    assert page.text.count("<svg") >= len(STREAMED)
