"""Groups of samples against each other, as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gilot_plugin.analysis.contrast import Contrast, Contrasts, Kind, amount, contrast_lines
from gilot_plugin.reports.visible import visible
from gilot_plugin.statistics.intervals import CONFIDENCE

#: Rows of each kind that are shown; findings come first.
ROWS = 8

LEGEND = (
    "shares of the attribution, of flows their mass; d, interval (in percentage points), told apart: of the "
    "difference within tasks, adjusted for all rows; typical: documents of the group that has more"
)

HEADINGS: Mapping[Kind, str] = {
    "part": "parts of the prompts",
    "word": "words",
    "flow": "flows of probability",
}


def show_contrasts(found: Contrasts, console: Console) -> None:
    """Print what the groups differ in, and what that says in words."""
    for line in contrast_lines(found):
        console.print(visible(line, console.encoding), markup=False, highlight=False, soft_wrap=True)
    for kind, heading in HEADINGS.items():
        rows = [one for one in found.found if one.kind == kind]
        if rows:
            console.print(heading, style="bold", highlight=False)
            console.print(_table(rows, console.encoding))
    if found.found:
        console.print(LEGEND, style="dim", markup=False, highlight=False)


def _table(rows: Sequence[Contrast], encoding: str) -> Table:
    groups = {one.group for one in rows}
    table = Table(
        Column("", overflow="fold", min_width=14),
        *([Column("group", overflow="fold")] if len(groups) > 1 else []),
        Column("in group" if len(groups) > 1 else visible(next(iter(groups)), encoding), justify="right"),
        Column("others", justify="right"),
        Column("d", justify="right"),
        Column(f"{CONFIDENCE:.0%} interval", justify="right"),
        Column("told apart"),
        Column("typical", overflow="fold"),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for one in rows[:ROWS]:
        table.add_row(
            escape(visible(one.name, encoding)),
            *([escape(visible(one.group, encoding))] if len(groups) > 1 else []),
            amount(one, one.test.mean),
            amount(one, one.test.other),
            effect_words(one),
            interval_words(one),
            judged_words(one),
            ", ".join(str(key[1]) for key in one.typical),
        )
    if len(rows) > ROWS:
        table.add_row(f"({len(rows) - ROWS} more)")
    return table


def effect_words(one: Contrast) -> str:
    """Cohen's d; empty where nothing scatters."""
    return "" if one.test.effect_size is None else f"{one.test.effect_size:+.2f}"


def interval_words(one: Contrast) -> str:
    """The interval of the difference, in percentage points or mass; empty with too few samples."""
    if one.test.low is None or one.test.high is None:
        return ""
    if one.kind == "flow":
        return f"{one.test.low:+.3f} to {one.test.high:+.3f}"
    return f"{100 * one.test.low:+.1f} to {100 * one.test.high:+.1f}"


def judged_words(one: Contrast) -> str:
    """A comparison, for the cell of a table."""
    if not one.testable:
        return "too few"
    if one.is_finding:
        return "p < 0.001" if one.q_value < 0.001 else f"p = {one.q_value:.2g}"
    return f"no (p = {one.q_value:.2g})"
