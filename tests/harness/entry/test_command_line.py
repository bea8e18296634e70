"""The command as users call it, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gilot_plugin.artifacts.reader import read_run
from tests.harness.evaluations import QUESTIONS, manifest_in


@pytest.mark.any_release
@pytest.mark.slow  # lm-eval reads the list of all its tasks
@pytest.mark.timeout(900)
def test_run(model_dir: Path, tmp_path: Path) -> None:
    """An evaluation of two kinds of tasks, whose samples are explained at full speed."""
    docs = [{"question": question, "options": [" dog", " can fly"], "gold": 0} for question in QUESTIONS]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in docs), encoding="utf-8")
    task = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "docs.jsonl")}},
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "metadata": {"version": 1},
    }
    answers = {
        "task": "short_answers",
        "output_type": "generate_until",
        "doc_to_target": "x",
        "generation_kwargs": {"until": ["\n\n"], "do_sample": False, "max_gen_toks": 4},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    endings = {
        "task": "short_endings",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "{{gold}}",
    }
    for own in (answers, endings):
        path = tmp_path / "tasks" / f"{own['task']}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({**task, **own}), encoding="utf-8")

    model = ("--model", "hf", "--model_args", f"pretrained={model_dir},dtype=float32", "--device", "cpu")
    output = tmp_path / "output"
    settings = "max_new_tokens=3,num_threads=1,select.n=2"
    command = (
        *(sys.executable, "-m", "gilot_plugin.cli", "run", *model, "--limit", "3", "--log_samples"),
        *("--tasks", "short_answers,short_endings", "--include_path", str(tmp_path / "tasks")),
        *("--output_path", str(output), "--gilot_args", settings),
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "4 samples (4 ok)" in done.stderr
    assert "slow:" not in done.stderr
    used = manifest_in(output)["cache_use"]
    assert (used["key_value_cache"], used["prefix_trees"]) == (True, True)
    records = read_run(output).records
    assert [(record["task"], record["doc_id"]) for record in records] == [
        *(("short_answers", 0), ("short_answers", 1)),
        *(("short_endings", 0), ("short_endings", 1)),
    ]
    assert all(max(record["scores"]["ot"]) > 0 for record in records)
