"""Log lines as JSON objects, each with the id of the request that it belongs to."""

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Of the request that is being answered."""
trace_id: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""Of the trace that the request is part of, where there are traces."""

ACCESS = logging.getLogger("api.access")
"""One line for each request: who read what, from which snapshot, and how much. Neither addresses nor queries: keys
and places may stand in those."""


class AccessRecord(logging.LogRecord):
    """A line of :data:`ACCESS`.

    The place in the source, the thread and the process, which no line has, are not looked up for it: that took
    longer than to write the line.
    """

    fields: Mapping[str, Any]
    """Further members of the line."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        vars(self).update(_OF_ACCESS, created=time.time(), fields=fields)


_OF_ACCESS = vars(logging.LogRecord(ACCESS.name, logging.INFO, "", 0, "answered", None, None))
"""What the records have in common."""


def note_answered(fields: Mapping[str, Any]) -> None:
    """Log how a request was answered."""
    if ACCESS.isEnabledFor(logging.INFO):
        ACCESS.handle(AccessRecord(fields))


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
        if isinstance(record, AccessRecord):
            line |= record.fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, option=orjson.OPT_UTC_Z).decode()


class GatheredLines(logging.StreamHandler[TextIO]):
    """Writes what one turn of the event loop logs at once, and what others log immediately.

    Each write lets go of the interpreter's lock, for which the threads of the server wait as well: one for every
    request took a fifth of the requests that a worker can answer.
    """

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._lines: list[str] = []
        self._flushes_in: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take the line of ``record``."""
        try:
            self._lines.append(self.format(record))
            loop = _running_loop()
            if loop is None:
                self.flush()
            elif loop is not self._flushes_in:
                self._flushes_in = loop
                loop.call_soon(self.flush)
        except Exception:  # noqa: BLE001  a request does not fail because of its line
            self.handleError(record)

    def flush(self) -> None:
        """Write the lines that were taken."""
        self.acquire()
        try:
            lines, self._lines, self._flushes_in = self._lines, [], None
            if lines:
                self.stream.write("\n".join([*lines, ""]))
                self.stream.flush()
        finally:
            self.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def write_json_lines() -> None:
    """Write what this service logs to stderr, as JSON lines, and what the sender of its traces complains of.

    What no line has is not looked up for each record: its place in the source, its thread and its process (Logging
    HOWTO of Python, "Optimization").
    """
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = GatheredLines()
    handler.setFormatter(JsonLines())
    for name, level in (("api", logging.INFO), ("opentelemetry", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate = False
        logger.handlers = [handler]
