"""An audit's shifts as a table for the terminal."""

from __future__ import annotations

from rich.table import Column, Table
from rich.text import Text

from gilot_plugin.comparison.audit import Audit
from gilot_plugin.comparison.shifts import Shift
from gilot_plugin.reports.visible import visible

_ROWS = 8


def shift_table(audit: Audit, encoding: str = "utf-8") -> Table:
    """Parts of the prompt, then words, each with its largest shifts first."""
    table = Table(
        Column("share of the attribution", overflow="fold"),
        *(Column(name, justify="right") for name in ("before", "after", "shift", "pairs", "q", "noise")),
        "finding",
    )
    for shifts in (audit.segments, audit.words):
        for shift in shifts[:_ROWS]:
            table.add_row(Text(visible(_name(shift), encoding)), *_numbers(shift))
        if len(shifts) > _ROWS:
            table.add_row(f"({len(shifts) - _ROWS} more)")
        table.add_section()
    return table


def _name(shift: Shift) -> str:
    return shift.name if shift.task is None else f"{shift.task}: {shift.name}"


def _numbers(shift: Shift) -> tuple[str, ...]:
    return (
        f"{shift.base:.1%}",
        f"{shift.tuned:.1%}",
        f"{shift.test.mean:+.1%}",
        str(shift.test.pairs),
        f"{shift.q_value:.2g}",
        f"{shift.floor:.1%}",
        "yes" if shift.is_finding else "no",
    )
