from __future__ import annotations

import functools
import logging
from pathlib import Path
from typing import Any

import lm_eval.api.registry
import lm_eval.tasks
import pytest
import yaml

from gilot_plugin import cli
from gilot_plugin.harness.entry import command
from tests.commands.run.launching import Refused, UnloadableModel, run


@pytest.fixture(autouse=True)
def _nothing_to_load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and an lm-eval without models and without its tasks, which take seconds to read."""
    monkeypatch.chdir(tmp_path)
    # Handlers would outlive the test, and the stream that it captures.
    monkeypatch.setattr(command, "setup_logging", lambda: None)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(
        lm_eval.tasks, "TaskManager", functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
    )

    def get_model(name: str) -> type[UnloadableModel]:
        if name != "hf":
            raise ValueError(f"no model for this name found: {name}")
        return UnloadableModel

    monkeypatch.setattr(lm_eval.api.registry, "get_model", get_model)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Runs ``gilot run``, expects exit code 2 and neither model nor artifacts, and returns the message."""

    def refuse(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert run(arguments) == cli.WRONG
        message = capsys.readouterr().err
        assert "error: " in message
        assert "Traceback" not in message
        assert sorted(tmp_path.rglob("*")) == before
        return message

    return refuse


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder of tasks, some with wrong settings of their own."""
    folder = tmp_path / "tasks"
    task = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": "nowhere.jsonl"}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
    }
    wrong = {**task, "task": "wrong", "metadata": {"version": 1, "gilot": {"num_beams": 0}}}
    files: dict[str, Any] = {
        "right": {**task, "task": "right", "metadata": {"version": 1, "gilot": {"num_beams": 2}}},
        "plain": {**task, "task": "plain"},
        "wrong": {**wrong, "tag": "tagged"},
        "wrong_kind": {**task, "task": "wrong_kind", "metadata": {"gilot": [1]}},
        "heir": {"include": "wrong.yaml", "task": "heir", "tag": []},
        "group": {"group": "group", "task": ["plain", "wrong"]},
        "outer_group": {"group": "outer_group", "task": ["plain", "group"]},
        "group_of_changed": {"group": "group_of_changed", "task": [{"task": "wrong", "num_fewshot": 1}]},
        "group_of_inline": {"group": "group_of_inline", "task": [{**wrong, "task": "inline"}]},
        "group_of_tag": {"group": "group_of_tag", "task": ["tagged"]},
        "group_mending": {
            "group": "group_mending",
            "task": [{"task": "wrong", "metadata": {"gilot": {"num_beams": 1}}}],
        },
        "group_with_settings": {
            "group": "group_with_settings",
            "task": ["plain"],
            "metadata": {"gilot": {"num_beams": 2}},
        },
    }
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return folder


@pytest.fixture
def of_tasks(tasks: Path) -> list[str]:
    """Options that make the tasks known and give an output folder."""
    return ["--model", "hf", "--include_path", str(tasks), "--output_path", "out"]
