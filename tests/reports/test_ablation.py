"""Where ablations are shown: terminal, page, card, figure, audit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from gilot_plugin.artifacts.loading import LoadedRun, load_run
from gilot_plugin.comparison.audit import audit_runs
from gilot_plugin.comparison.verdict import audit_json, verdict_lines
from gilot_plugin.reports.ablation import show_ablations
from gilot_plugin.reports.card.section import card_section
from gilot_plugin.reports.figures import run_figures
from gilot_plugin.reports.html.comparison import comparison_page
from gilot_plugin.reports.html.report import report_page
from tests.analysis.ablations import make_ablation, write_ablation
from tests.artifacts import factories

_HOSTILE = "without <script>alert(1)</script>"


def _found(full: int = 20, without: int = 4) -> dict[str, list[float]]:
    return {
        "full": [1.0] * full + [0.0] * (20 - full),
        "without question": [1.0] * without + [0.0] * (20 - without),
        _HOSTILE: [1.0] * full + [0.0] * (20 - full),
    }


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    """A run with ablations beside it."""
    factories.write_run(tmp_path, [factories.make_record(doc_id=doc) for doc in range(3)])
    write_ablation(tmp_path, make_ablation(_found(), date=factories.DATE))
    return load_run(tmp_path)


def test_the_table_names_every_arm_in_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_ablations([make_ablation(_found())], Console(width=80))
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if line.startswith(" ")) <= 80
    assert "without question" in out
    assert "films: acc falls from 1 to 0.2 without the question" in out


def test_the_page_the_card_and_the_figures_show_them(run: LoadedRun) -> None:
    page = report_page(run)
    assert "What the score hangs on" in page
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    section = card_section(run)
    assert "### What the score hangs on" in section.text
    assert re.search(r"\| films \| acc \| without question \| 20 \| 1\.000 \| 0\.200 \|", section.text)
    assert "gilot/ablations.png" in [picture.file for picture in section.pictures]
    assert "ablations" in [figure.name for figure in run_figures(run)]


def test_a_run_without_ablations_says_nothing_of_them(run: LoadedRun) -> None:
    for path in run.folder.glob("ablations_*"):
        path.unlink()
    assert "What the score hangs on" not in report_page(run)
    assert "What the score hangs on" not in card_section(run).text


def test_an_audit_tells_where_a_part_matters_to_one_model_only(run: LoadedRun, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write_ablation(other, make_ablation(_found(without=20), date=factories.DATE))
    tuned = replace(run, folder=other)
    audit = audit_runs(run, tuned)
    found = {shift.arm: shift for shift in audit.ablations}
    shift = found["without question"]
    assert (shift.base, shift.tuned) == (pytest.approx(-0.8), 0.0)
    assert shift.is_finding
    assert not found[_HOSTILE].is_finding
    (line,) = [line for line in verdict_lines(audit) if "without question" in line]
    assert "acc changes less without question: by -0.800 in the base model, by +0.000 in the other" in line
    written = json.loads(json.dumps(audit_json(audit)))
    assert written["ablations"][0]["is_finding"] == bool(audit.ablations[0].is_finding)
    assert "What the scores hang on" in comparison_page(audit)
    assert audit_runs(run, run).ablations[0].test.mean == 0
