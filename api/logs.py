"""Log lines as JSON objects, each with the id of the request that it belongs to."""

import logging
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is being answered."""
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""Of the trace that the request is part of, where there are traces."""

ACCESS = logging.getLogger("api.access")
"""One line for each request: who read what, from which snapshot, and how much. Neither addresses nor queries: keys
and places may stand in those."""

FIELDS = "fields"
"""Attribute of a record that holds further members of its line."""


class JsonLines(logging.Formatter):
    """A record as a line of JSON: ``time``, ``level``, ``logger``, ``message``, ``request_id``, ``trace_id`` where
    there is one, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write ``record``; an exception is in the member ``exception``, with its trace."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
        }
        if trace := trace_id.get():
            line["trace_id"] = trace
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, option=orjson.OPT_UTC_Z).decode()


def write_json_lines() -> None:
    """Write what this service logs to stderr, as JSON lines, and what the sender of its traces complains of."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, level in (("api", logging.INFO), ("opentelemetry", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        logger.handlers = [handler]
