"""The command ``dead-letters``, ready to be registered with a Typer application."""

from dataclasses import asdict
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table

from contracts import families, family
from dead_letters import store
from dead_letters.classify import ErrorClass
from dead_letters.listing import Count, Filter, counts, newest
from dead_letters.retry import RetryReport, retry
from resources.catalog import explained_outages, open_catalog
from resources.terminal import console
from settings import load_settings

SHOWN_PAYLOAD = 60


def dead_letters(
    *,
    family_name: Annotated[str | None, typer.Option("--family", help="Only those of this family.")] = None,
    error_class: Annotated[ErrorClass | None, typer.Option(help="Only those with this kind of error.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many of the newest to list.")] = 20,
    again: Annotated[
        bool, typer.Option("--retry", help="Publish those that are valid now to their topic again, once.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last on stdout.")] = False,
) -> None:
    """List records that are no valid event, with what is wrong with them; or publish again what is valid now."""
    chosen = Filter(None if family_name is None else family(family_name).name, error_class)
    settings = load_settings()
    with explained_outages(settings):
        table = store.load(open_catalog(settings))
        report = retry(settings, table, families(), chosen) if again else None
        counted = counts(table, chosen)
        listed = [] if again else newest(table, chosen, limit)
    if as_json:
        typer.echo(orjson.dumps(_document(counted, listed, report)).decode())
    elif report is not None:
        typer.echo(
            f"{report.retried:,} published again, {report.still_invalid:,} still invalid, "
            f"{report.retried_before:,} published again before"
        )
    else:
        _show(counted, listed)


def _document(counted: list[Count], listed: list[dict[str, Any]], report: RetryReport | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "total": sum(count.count for count in counted),
        "counts": [asdict(count) for count in counted],
    }
    if report is None:
        return {**document, "dead_letters": listed}
    return {**document, "retry": asdict(report)}


def _show(counted: list[Count], listed: list[dict[str, Any]]) -> None:
    out = console(stderr=False)
    letters = Table("Kafka time", "topic/partition/offset", "error", "field", "message", "payload", box=None)
    for row in listed:
        letters.add_row(
            row["kafka_time"],
            f"{row['topic']}/{row['kafka_partition']}/{row['kafka_offset']}",
            row["error_class"],
            row["error_field"] or "",
            row["error_message"],
            _one_line(row["payload"]),
        )
    summary = Table("family", "error", "count", box=None)
    for count in counted:
        summary.add_row(count.family, count.error_class, f"{count.count:,}")
    if listed:
        out.print(letters)
        out.print()
    out.print(summary if counted else "no dead letters")


def _one_line(payload: str | None) -> str:
    if payload is None:
        return ""
    shown = payload if len(payload) <= SHOWN_PAYLOAD else payload[:SHOWN_PAYLOAD] + "…"
    # a control character in a payload must not reach the terminal
    return "".join(character if character.isprintable() else "·" for character in shown)
