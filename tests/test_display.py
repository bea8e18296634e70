"""Values show themselves: short in a list, whole in a terminal."""

from __future__ import annotations

import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from gilot_plugin import display
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.comparison.audit import audit_runs
from tests.artifacts import factories
from tests.reports.html.pages import HOSTILE, SCORES, loaded


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    return loaded(
        tmp_path,
        factories.make_record(scores=SCORES),
        factories.make_skipped("pairs", 3, f"no choices {HOSTILE}"),
    )


def printed(value: object, width: int = 100) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(value)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_reprs_are_short() -> None:
    attribution = factories.make_attribution(scores=SCORES)
    assert (
        repr(attribution)
        == "Attribution(6 units, generation; ot: ' not' 0.5, ' good' 0.25, ' film' 0.05, ...)"
    )
    choices = factories.make_attribution(scores=SCORES, choices=factories.CHOICES)
    assert repr(choices).startswith("Attribution(6 units, choices; ot: ' not' 0.5,")


def test_reprs_of_records_runs_and_audits(run: LoadedRun) -> None:
    first, second = run.records
    assert (
        repr(first) == "Record('films', document 0, 6 units; ot: ' not' 0.5, ' good' 0.25, ' film' 0.05, ...)"
    )
    assert repr(second).startswith("Record('pairs', document 3, skipped: 'no choices")
    assert "\x1b" not in repr(second)
    assert (
        repr(run)
        == f"LoadedRun({str(run.folder)!r}, {run.date}, 1 of 2 samples explained, tasks: 'films, pairs')"
    )
    told = repr(audit_runs(run, run))
    assert told == "Audit('tiny-model' against 'tiny-model', ot: 1 samples, 0 of 0 shifts are findings)"


def test_long_units_do_not_make_long_reprs() -> None:
    attribution = factories.make_attribution("<s>User: " + "x" * 50_000)
    assert len(repr(attribution)) < 150


def test_a_terminal_shows_the_sheet_of_a_sample(run: LoadedRun) -> None:
    shown = printed(run.records[0])
    assert "films · doc 0 · ok" in shown
    assert "«not:9» «good:5»" in shown
    of_prompt = printed(factories.make_attribution(scores=SCORES))
    assert "«not:9» «good:5»" in of_prompt
    assert "doc 0" not in of_prompt


def test_a_terminal_shows_runs_and_audits(run: LoadedRun) -> None:
    assert "1 of 1" in printed(run)
    assert "skipped: no choices" in printed(run)
    assert "McNemar" in printed(audit_runs(run, run))
    assert "no records" in printed(LoadedRun(run.folder, run.date, None, ()))


def test_nothing_is_drawn_before_it_is_looked_at() -> None:
    code = (
        "import sys\nfrom gilot_plugin.attribution.types import Attribution\n"
        "print([name for name in sys.modules if name.startswith('gilot_plugin.reports')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_a_drawing_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "_load", None)
    monkeypatch.setattr(display, "_loaded", None)
    with pytest.raises(RuntimeError, match="nothing draws values"):
        factories.make_attribution()._repr_html_()
