"""Python source of values and calls, as ``ruff format`` leaves it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

INDENT = "    "
WIDTH = 88
"""Characters of a line, as ``ruff format`` counts by default."""
ARGUMENT = len("schedule=,")
"""Room for the name of an argument and the comma after it, where lists and short calls stand."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call, one argument a line; what is ``None`` or empty is left out. A short one stands in one line."""

    name: str
    arguments: Mapping[str, Any]
    positional: Sequence[Any] = ()
    short: bool = False


@dataclass(frozen=True, slots=True)
class Inline:
    """Source that stands as it is."""

    text: str


@dataclass(frozen=True, slots=True)
class Doc:
    """Text of several lines."""

    text: str


def source(value: Any, depth: int = 0) -> str:  # noqa: ANN401, PLR0911  one for each kind of value
    """Source of a value, whose first line stands where it is put and whose others are indented by ``depth``."""
    match value:
        case Call():
            return _call(value, depth)
        case Doc():
            return _doc(value.text, depth)
        case Inline():
            return value.text
        case str():
            return quoted(value)
        case timedelta():
            return _timedelta(value)
        case datetime():
            return f'pendulum.datetime({value.year}, {value.month}, {value.day}, tz="UTC")'
        case Mapping():
            return _block("{", [f"{quoted(k)}: {source(v, depth + 1)}" for k, v in value.items()], "}", depth)
        case Sequence():
            return _one_line_or_block("[", [source(v, depth + 1) for v in value], "]", depth)
        case _:
            return repr(value)


def quoted(text: str) -> str:
    """A string literal with double quotes, or with single ones where it then needs fewer escapes."""
    literal = repr(text)
    if literal.startswith('"'):
        return literal
    inner = literal[1:-1].replace("\\'", "'")
    if '"' not in text:
        return f'"{inner}"'
    return literal if "'" not in text else '"' + inner.replace('"', '\\"') + '"'


def _call(call: Call, depth: int) -> str:
    kept = [(k, v) for k, v in call.arguments.items() if v not in (None, (), [], {}, "")]
    parts = [source(v, depth + 1) for v in call.positional]
    parts += [f"{k}={source(v, depth + 1)}" for k, v in kept]
    written = _one_line_or_block if call.short else _block
    return written(f"{call.name}(", parts, ")", depth)


def _one_line_or_block(opening: str, parts: Sequence[str], closing: str, depth: int) -> str:
    line = opening + ", ".join(parts) + closing
    if "\n" not in line and len(INDENT) * depth + ARGUMENT + len(line) <= WIDTH:
        return line
    return _block(opening, parts, closing, depth)


def _block(opening: str, parts: Sequence[str], closing: str, depth: int) -> str:
    if not parts:
        return opening + closing
    inner = INDENT * (depth + 1)
    lines = [f"{inner}{part}," for part in parts]
    return "\n".join([opening, *lines, INDENT * depth + closing])


def _doc(text: str, depth: int) -> str:
    inner = INDENT * (depth + 1)
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines = [inner + line if line.strip() else "" for line in escaped.strip().splitlines()]
    return "\n".join(["dedent(", f'{inner}"""', *lines, f'{inner}"""', INDENT * depth + ")"])


def _timedelta(value: timedelta) -> str:
    for unit, seconds in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        count, rest = divmod(value.total_seconds(), seconds)
        if count and not rest:
            return f"timedelta({unit}={int(count)})"
    return f"timedelta(seconds={value.total_seconds():g})"
