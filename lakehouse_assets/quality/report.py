"""The data-quality report: one page of HTML without anything from elsewhere."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from html import escape
from typing import Any

from contracts.quality import Verdict, verdict

Evaluation = Mapping[str, Any]

BAR_WIDTH, BAR_GAP, HEIGHT = 8, 2, 40
COLOURS: dict[Verdict, str] = {"passed": "#9ec9a5", "warned": "#e3b34c", "failed": "#c8553d"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .3rem .6rem; vertical-align: top }
tr { border-top: 1px solid #ddd } svg { display: block } small { color: #666 } code { overflow-wrap: anywhere }
"""


def render(evaluations: Sequence[Evaluation], now: datetime, *, days: int) -> str:
    """The page: of each table what its checks said last, and how it went over the last ``days`` days."""
    by_table: dict[str, list[Evaluation]] = defaultdict(list)
    for evaluation in evaluations:
        by_table[evaluation["table_name"]].append(evaluation)
    newest = {name: _newest(of_table) for name, of_table in by_table.items()}
    failing = sum(not check["passed"] for checks in newest.values() for check in checks)
    checked = sum(map(len, newest.values()))
    rows = "".join(
        _table_row(name, newest[name], _trend(by_table[name], now.date(), days)) for name in sorted(by_table)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data quality</title><style>{STYLE}</style></head><body>
<h1>Data quality</h1>
<p>{checked - failing} of {checked} checks of {len(by_table)} tables passed when they last ran.
<small>Written {now:%Y-%m-%d %H:%M} UTC; bars are days, the newest at the right: evaluations that
{", ".join(f'<span style="color:{colour}">{outcome}</span>' for outcome, colour in COLOURS.items())}.</small></p>
<table><thead><tr><th>Table</th><th>The last {days} days</th><th>Checks, as they last ran</th></tr></thead>
<tbody>{rows}</tbody></table></body></html>
"""


def trend(evaluations: Sequence[Evaluation]) -> dict[date, dict[Verdict, int]]:
    """How many evaluations of each day (UTC) passed, warned and failed."""
    counts: dict[date, dict[Verdict, int]] = {}
    for evaluation in evaluations:
        of_day = counts.setdefault(evaluation["checked_at"].date(), dict.fromkeys(COLOURS, 0))
        of_day[_verdict(evaluation)] += 1
    return counts


def _verdict(evaluation: Evaluation) -> Verdict:
    return verdict(passed=evaluation["passed"], severity=evaluation["severity"])


def _newest(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The last evaluation of each check, by the name of the check."""
    newest = {
        evaluation["check_name"]: evaluation for evaluation in sorted(evaluations, key=lambda e: e["checked_at"])
    }
    return [newest[name] for name in sorted(newest)]


def _table_row(name: str, checks: Sequence[Evaluation], plot: str) -> str:
    return f"<tr><td><b>{escape(name)}</b></td><td>{plot}</td><td>{''.join(map(_check, checks))}</td></tr>\n"


def _check(evaluation: Evaluation) -> str:
    said = escape(evaluation["description"] or "")
    details = "".join(
        f"<li><code>{escape(json.dumps(failure))}</code></li>"
        for failure in json.loads(evaluation["failures"] or "[]")
    )
    failures = f"<details><summary>what failed</summary><ul>{details}</ul></details>" if details else ""
    outcome, name = _verdict(evaluation), escape(evaluation["check_name"])
    return (
        f'<div><span style="color:{COLOURS[outcome]}">&#9632;</span> {name}: {outcome}, {said} '
        f"<small>{evaluation['checked_at']:%Y-%m-%d %H:%M}</small>{failures}</div>"
    )


def _trend(evaluations: Sequence[Evaluation], today: date, days: int) -> str:
    """Stacked bars, a day each, as SVG; a day without an evaluation has none."""
    counts = trend(evaluations)
    bars = []
    for position in range(days):
        day = today - timedelta(days=days - 1 - position)
        of_day = counts.get(day, {})
        total, top = sum(of_day.values()), float(HEIGHT)
        shares = [(name, of_day[name] / total) for name in COLOURS if of_day.get(name)]
        for name, share in shares:
            # what failed shows, however little it is
            height = max(share * HEIGHT, 2.0)
            top -= height
            bars.append(
                f'<rect x="{position * (BAR_WIDTH + BAR_GAP)}" y="{max(top, 0):.1f}" width="{BAR_WIDTH}" '
                f'height="{height:.1f}" fill="{COLOURS[name]}"><title>{day}: {of_day[name]} {name}</title></rect>'
            )
    width = days * (BAR_WIDTH + BAR_GAP)
    return f'<svg width="{width}" height="{HEIGHT}" viewBox="0 0 {width} {HEIGHT}">{"".join(bars)}</svg>'
