"""The alert of a failed run: jobs that really fail, and a webhook that is a real HTTP server."""

import json
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr, ValidationError

from lakehouse_assets.alerts import failed_run_alert
from resources import webhook
from resources.webhook import WebhookError, post_json
from settings import Settings

DAYS = dg.DailyPartitionsDefinition(start_date="2026-03-01")
SECRETS = dict.fromkeys(("s3_access_key", "s3_secret_key", "redis_password", "api_key"), "0123456789abcdef")
PATH = "/hooks/very-secret"


class Webhook:
    """A server on a free port that keeps what it gets; it answers with the next of ``answers``, else with 200."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert (self.path, self.headers["content-type"]) == (PATH, "application/json")
                outer.got.append(body)
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing: the test says what it got."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = SecretStr(f"http://127.0.0.1:{self.server.server_port}{PATH}")


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(webhook, "PAUSE_S", 0.01)
    receiver = Webhook()
    thread = Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


def platform(home: Path, **values: Any) -> Settings:
    return Settings(
        home=home, toolchain=home, _env_file=None, dagster_url="http://dagster:3000", **SECRETS, **values
    )


@dg.asset(key=["gold", "air_hourly"], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def air_hourly(context: dg.AssetExecutionContext) -> None:
    del context
    try:
        raise ValueError("disk is full")
    except ValueError as cause:
        raise RuntimeError("not written") from cause


@dg.asset(key=["gold", "air_daily"], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def air_daily() -> None:
    """Succeeds."""


LOCATION = dg.Definitions(
    assets=[air_hourly, air_daily], jobs=[dg.define_asset_job("gold_daily", [air_hourly, air_daily])]
)


class Dagster:
    """An instance with runs, and the daemon that ticks the sensor."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.tick()

    def run(self, tags: Mapping[str, str], **chosen: Any) -> str:
        job = LOCATION.resolve_job_def("gold_daily")
        return job.execute_in_process(
            instance=self.instance, tags=dict(tags), raise_on_error=False, **chosen
        ).run_id

    def tick(self) -> list[str | None]:
        """Tick as the daemon does; for each run that it has reacted to, the error with its causes."""
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources={"settings": self.settings}
        )
        result = failed_run_alert.evaluate_tick(context)
        self.cursor = result.cursor
        return [reaction.error and reaction.error.to_string() for reaction in result.dagster_run_reactions or ()]


def test_a_failed_run_is_told_once_with_all_that_people_need(tmp_path: Path, receiver: Webhook) -> None:
    dagster = Dagster(platform(tmp_path, alert_webhook_url=receiver.url))
    run_id = dagster.run(
        {"dagster/asset_partition_range_start": "2026-03-05", "dagster/asset_partition_range_end": "2026-03-07"}
    )
    assert dagster.tick() == [None]
    [alert] = receiver.got
    text = alert.pop("text")
    assert alert == {
        "job": "gold_daily",
        "run_id": run_id,
        "partition": "2026-03-05 to 2026-03-07",
        "assets": ["gold/air_daily", "gold/air_hourly"],
        "error": "step gold__air_hourly: ValueError: disk is full",
        "will_retry": False,
        "run_url": f"http://dagster:3000/runs/{run_id}",
    }
    for told in ("gold_daily", "2026-03-05 to 2026-03-07", "ValueError: disk is full", alert["run_url"]):
        assert told in text
    assert dagster.tick() == []
    assert len(receiver.got) == 1


def test_only_the_assets_of_the_run_are_named(tmp_path: Path, receiver: Webhook) -> None:
    dagster = Dagster(platform(tmp_path, alert_webhook_url=receiver.url))
    dagster.run(
        {"dagster/partition": "2026-03-05", "dagster/will_retry": "true"}, asset_selection=[air_hourly.key]
    )
    dagster.tick()
    [alert] = receiver.got
    assert (alert["assets"], alert["partition"], alert["will_retry"]) == (["gold/air_hourly"], "2026-03-05", True)


def test_a_run_whose_process_died_says_so(tmp_path: Path, receiver: Webhook) -> None:
    dagster = Dagster(platform(tmp_path, alert_webhook_url=receiver.url))
    run = dagster.instance.create_run_for_job(LOCATION.resolve_job_def("gold_daily"))
    dagster.instance.report_run_failed(run, "the run worker died")
    dagster.tick()
    [alert] = receiver.got
    assert (alert["run_id"], alert["partition"], alert["error"]) == (run.run_id, None, "the run worker died")


def test_a_run_that_succeeds_is_not_told(tmp_path: Path, receiver: Webhook) -> None:
    dagster = Dagster(platform(tmp_path, alert_webhook_url=receiver.url))
    dagster.run({"dagster/partition": "2026-03-05"}, asset_selection=[air_daily.key])
    assert dagster.tick() == []
    assert receiver.got == []


@pytest.mark.parametrize("unset", [{}, {"alert_webhook_url": ""}])
def test_without_a_webhook_it_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], unset: dict[str, str]
) -> None:
    dagster = Dagster(platform(tmp_path, **unset))
    dagster.run({"dagster/partition": "2026-03-05"})
    assert dagster.tick() == [None]
    logged = capsys.readouterr().err
    assert "gold_daily of 2026-03-05 failed: step gold__air_hourly: ValueError: disk is full" in logged


def test_a_receiver_that_is_busy_is_asked_again(receiver: Webhook) -> None:
    receiver.answers = [503]
    post_json(receiver.url, {"text": "t"})
    assert receiver.got == [{"text": "t"}] * 2


def test_a_receiver_that_refuses_fails_the_tick_and_its_secret_stays_secret(
    tmp_path: Path, receiver: Webhook
) -> None:
    receiver.answers = [404]
    dagster = Dagster(platform(tmp_path, alert_webhook_url=receiver.url))
    dagster.run({"dagster/partition": "2026-03-05"})
    [error] = dagster.tick()
    assert error is not None
    assert "127.0.0.1 answers 404: check LAKEHOUSE_ALERT_WEBHOOK_URL" in error
    assert PATH not in error
    assert len(receiver.got) == 1


def test_a_receiver_that_does_not_answer_is_named(receiver: Webhook) -> None:
    receiver.server.server_close()
    with pytest.raises(WebhookError, match=r"127\.0\.0\.1 does not answer \(ConnectError\)") as caught:
        post_json(receiver.url, {})
    assert PATH not in str(caught.value)


def test_a_webhook_is_a_web_address(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="begins with http"):
        platform(tmp_path, alert_webhook_url="hooks.example.org/x")
