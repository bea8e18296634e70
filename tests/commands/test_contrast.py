"""``gilot contrast`` on a run, and its section in the report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.reports.card.section import card_section
from gilot_plugin.reports.html.report import report_page
from tests.artifacts import factories
from tests.commands.conftest import Gilot

_LAST = len(factories.make_record()["units"]) - 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Wrong answers hang on the last word, right ones on the first."""
    records = []
    for doc in range(16):
        scores = [0.1] * (_LAST + 1)
        scores[_LAST if doc % 2 else 0] = 1.0 + doc / 100
        record = factories.make_record(doc_id=doc, scores={"ot": scores})
        records.append(
            factories.edited(record, lambda one, doc=doc: one.update(metrics={"acc,none": 1.0 - doc % 2}))
        )
    factories.write_run(tmp_path, records)
    return tmp_path


def test_what_the_groups_differ_in_is_printed(gilot: Gilot, folder: Path) -> None:
    ended = gilot("contrast", folder)
    assert ended.code == 0, ended.err
    assert "16 explained samples by correct: 8 wrong, 8 right; scores by ot." in ended.out
    assert re.search(r"the word '\w+' carries (more|less) in wrong answers", ended.out)


def test_what_cannot_be_grouped_is_said(gilot: Gilot, folder: Path) -> None:
    ended = gilot("contrast", folder, "--by", "topic")
    assert ended.code == 1
    assert "--log_samples" in ended.err
    assert "not in two groups by task" in gilot("contrast", folder, "--by", "task").out


def test_the_report_links_what_is_typical(folder: Path) -> None:
    page = report_page(load_run(folder))
    assert "Wrong answers against right ones" in page
    section = page[page.index('id="contrast"') : page.index('id="faithfulness"')]
    links = re.findall(r'href="#(films/\d+/\w+)"', section)
    assert links
    assert all(int(link.split("/")[1]) in range(16) for link in links)


def test_the_same_for_other_programs(gilot: Gilot, folder: Path, tmp_path: Path) -> None:
    ended = gilot("contrast", folder, "--output_path", tmp_path / "contrast.json")
    assert ended.code == 0, ended.err
    assert ended.out.rstrip().endswith("contrast.json")
    found = json.loads((tmp_path / "contrast.json").read_text())
    assert found["groups"] == {"wrong": 8, "right": 8}
    first = found["found"][0]
    assert first["is_finding"]
    assert first["mean"] - first["other"] == pytest.approx(first["difference"])
    typical = {key["doc_id"] for key in first["typical"]}
    # Documents with odd numbers are wrong, and carry more on the last word.
    assert typical <= set(range(1, 16, 2)) or typical <= set(range(0, 16, 2))
    assert found["lines"][0].startswith("16 explained samples by correct")


def test_the_card_has_it(folder: Path) -> None:
    text = card_section(load_run(folder)).text
    section = text[text.index("### Wrong answers against right ones") : text.index("### Examples")]
    assert "- 16 explained samples by correct: 8 wrong, 8 right; scores by ot." in section
    (row,) = [line for line in section.splitlines() if line.startswith("| word") and "| p " in line][:1]
    assert "8 and 8" in row
