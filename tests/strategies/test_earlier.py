"""Finding lm-eval's samples of an earlier run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gilot_plugin.errors import ConfigError
from gilot_plugin.strategies.earlier import earlier_samples


def write(path: Path, acc: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"doc_hash": "d", "target_hash": "t", "filter": "none", "metrics": ["acc"], "acc": acc}
    path.write_text(json.dumps(row) + "\n")


@pytest.mark.parametrize("task", ["films", "arc-easy", "a: b", "x[1]"])
def test_files_have_the_names_that_lm_eval_gives_them(tmp_path: Path, task: str) -> None:
    write(tmp_path / "model" / f"samples_{task}_2025-01-01T10-00-00.jsonl", 0.0)
    write(tmp_path / "model" / f"samples_{task}_2025-01-02T10-00-00.jsonl", 1.0)
    assert earlier_samples(tmp_path, task) == {("d", "t"): {"acc,none": 1.0}}


def test_what_a_killed_process_was_writing_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / ".gilot-x" / "model" / "samples_films_2025-01-02T10-00-00.jsonl", 1.0)
    with pytest.raises(ConfigError, match="no samples of task 'films'"):
        earlier_samples(tmp_path, "films")
