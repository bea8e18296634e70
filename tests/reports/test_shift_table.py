from __future__ import annotations

import io

import pytest
from rich.console import Console

from gilot_plugin.comparison.audit import Audit, audit_runs
from gilot_plugin.reports.shift_table import shift_table
from tests.comparison.simulated import WORDS, make_record, make_run, noisy_runs


def printed(audit: Audit, width: int = 80) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(shift_table(audit))
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_each_row_has_a_line_of_its_own_and_findings_come_first(width: int) -> None:
    base, tuned, repeated = noisy_runs(1, 40, 3, lifted={"Tuesday": 20.0})
    audit = audit_runs(base, tuned, noise=[repeated])
    lines = printed(audit, width)
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if line.endswith((" yes", " no"))]
    tasks = list(dict.fromkeys(shift.task for shift in audit.segments))
    parts = sorted(audit.segments, key=lambda shift: tasks.index(shift.task))
    assert [row[0] for row in rows] == [shift.name for shift in (*audit.words[:8], *parts)]
    assert [line.strip() for line in lines if line.strip().startswith("parts of")] == [
        f"parts of {task}" for task in tasks
    ]
    found = audit.words[0]
    assert rows[0] == [
        *("tuesday", f"{found.base:.1%}", f"{found.tuned:.1%}", f"{100 * found.test.mean:+.1f}"),
        *(str(found.test.pairs), f"{100 * found.test.floor:.1f}", "<0.001", "yes"),
    ]


def test_a_single_task_is_not_named_again() -> None:
    base, tuned = (
        make_run(
            make_record([first, *[1.0] * (len(WORDS) - 1)], task="a_task_of_a_long_name", doc=doc)
            for doc in range(8)
        )
        for first in (1.0, 3.0)
    )
    text = "\n".join(printed(audit_runs(base, tuned, noise=[base])))
    assert "a_task_of_a_long_name" not in text
    assert "question" in text
