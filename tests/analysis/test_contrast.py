"""What is said of wrong answers against right ones, where a person knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gilot_plugin.analysis.contrast import contrast_lines, contrasts
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import TotalFlow
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.contrast import show_contrasts
from tests.comparison.simulated import WORDS, make_record, make_run

_TUESDAY = next(place for place, (text, _) in enumerate(WORDS) if "Tuesday" in text)


def _records(count: int, *, planted: bool = True, task: str = "films") -> list[Record]:
    """Half of the answers are wrong; those hang on "Tuesday", if it is planted."""
    chance = np.random.default_rng(count + len(task))
    found = []
    for doc in range(count):
        scores = chance.uniform(0.5, 1.0, len(WORDS))
        wrong = doc % 2 == 0
        if wrong and planted:
            scores[_TUESDAY] += 5
        flows = (TotalFlow(" yes", " no", 0.5 if wrong and planted else 0.1, 1.0, 2),)
        found.append(make_record(scores.tolist(), doc=doc, correct=not wrong, task=task, flows=flows))
    return found


def test_the_word_part_and_flow_that_wrong_answers_hang_on_are_named() -> None:
    found = contrasts(make_run(_records(24)))
    named = {(one.kind, one.name): one for one in found.found if one.is_finding}
    assert {("word", "tuesday"), ("flow", "yes → no"), ("part", "question")} <= named.keys()
    one = named["word", "tuesday"]
    assert one.test.mean > one.test.other
    assert all(key[1] % 2 == 0 for key in one.typical)
    assert len(one.typical) == 3
    lines = list(contrast_lines(found))
    assert lines[0] == "24 explained samples by correct: 12 wrong, 12 right; scores by ot."
    assert any("the word 'tuesday' carries more in wrong answers: 4" in line for line in lines)


def test_nothing_is_claimed_where_nothing_is() -> None:
    found = contrasts(make_run(_records(24, planted=False)))
    assert not any(one.is_finding for one in found.found)
    assert "No part, word or flow is shown to differ" in list(contrast_lines(found))[-1]
    assert "would take some" in list(contrast_lines(found))[-1]


def test_too_few_samples_say_how_many_it_takes() -> None:
    (_, line) = contrast_lines(contrasts(make_run(_records(8))))
    assert "each is in too few samples. It takes 7 of each group." in line
    assert "it takes at least 5 of each" in str(contrasts(make_run(_records(4))).problem)
    right = [replace(record, metrics={"acc,none": 1.0}) for record in _records(12)]
    assert "0 wrong, 12 right" in str(contrasts(make_run(right)).problem)


def test_tasks_are_groups_too_and_otherwise_no_difference() -> None:
    other = _records(20, task="books", planted=False)
    run = make_run([*_records(20, planted=False), *other])
    assert contrasts(run, by="task").groups == {"films": 20, "books": 20}
    run = make_run([*_records(20), *_records(20, task="books", planted=False)])
    assert any(one.is_finding and one.name == "tuesday" for one in contrasts(run, by="task").found)


def test_fields_of_documents_come_from_the_log(tmp_path: Path) -> None:
    run = make_run(_records(12))
    with pytest.raises(ArtifactError, match="--log_samples"):
        contrasts(run, by="topic")
    samples = {record.key: {"doc": {"about": {"topic": record.doc_id % 3}}} for record in run.records}
    run.__dict__["sample_of"] = samples
    assert contrasts(run, by="about.topic").groups == {"0": 4, "1": 4, "2": 4}
    with pytest.raises(ArtifactError, match="no such field, they have 'about'"):
        contrasts(run, by="topic")


def test_the_table_fits_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_contrasts(contrasts(make_run(_records(24))), Console(width=100))
    out = capsys.readouterr().out
    assert "tuesday" in out
    assert max(len(line) for line in out.splitlines() if line.startswith(" ")) <= 100
