"""``gilot contrast`` on a run, and its section in the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gilot_plugin.artifacts.loading import load_run
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
