"""An audit's shifts as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from gilot_plugin.comparison.audit import Audit
from gilot_plugin.comparison.shifts import Shift
from gilot_plugin.comparison.verdict import q_cell
from gilot_plugin.reports.visible import visible
from gilot_plugin.statistics.families import ALPHA

_ROWS = 8

LEGEND = (
    "before, after: mean share of the attribution, which is how much each word matters to the outcome; "
    "shift: in percentage points; noise: the shift between repeated base runs; q: p-value of a shift larger "
    f"than the noise, adjusted for the number of tests; finding: q is at most {ALPHA:g}; few: in too few "
    "samples to be told from chance, whatever the shift."
)


def shift_table(audit: Audit, encoding: str = "utf-8") -> Table:
    """Words, then the parts of each task's prompts, findings and then the largest shifts first."""
    table = Table(
        Column("", overflow="fold", min_width=12),
        *(Column(name, justify="right") for name in ("before", "after", "shift", "samples", "noise", "q")),
        "finding",
        box=SIMPLE_HEAD,
        pad_edge=False,
        caption=LEGEND,
        caption_justify="left",
        caption_style="dim",
    )
    _add(table, "words", audit.words, encoding)
    tasks = dict.fromkeys(shift.task for shift in audit.segments)
    for task in tasks:
        own = [shift for shift in audit.segments if shift.task == task]
        _add(table, f"parts of {task}" if len(tasks) > 1 else "parts", own, encoding)
    return table


def _add(table: Table, heading: str, shifts: Sequence[Shift], encoding: str) -> None:
    if not shifts:
        return
    table.add_row(Text(visible(heading, encoding), "bold"))
    for shift in shifts[:_ROWS]:
        table.add_row(Text(f"  {visible(shift.name, encoding)}"), *_numbers(shift))
    if len(shifts) > _ROWS:
        table.add_row(f"  ({len(shifts) - _ROWS} more)")
    table.add_section()


def _numbers(shift: Shift) -> tuple[str, ...]:
    return (
        f"{shift.base:.1%}",
        f"{shift.tuned:.1%}",
        f"{100 * shift.test.mean:+.1f}",
        str(shift.test.pairs),
        f"{100 * shift.test.floor:.1f}",
        q_cell(shift.q_value),
        "yes" if shift.is_finding else "few" if shift.detectable is None else "no",
    )
