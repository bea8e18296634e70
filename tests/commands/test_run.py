"""``gilot run`` on a tiny model: settings in lm-eval's configuration, and how it ends."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import lm_eval.tasks
import pytest
import yaml

from gilot_plugin import cli, hookimpl
from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.harness.entry import command
from gilot_plugin.plugins.manager import manager
from tests.commands.conftest import Gilot
from tests.harness.evaluations import QUESTIONS


@pytest.fixture
def config(model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """lm-eval's configuration of a short evaluation, with attribution settings in it."""
    monkeypatch.setattr(command, "setup_logging", lambda: None)
    monkeypatch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)
    monkeypatch.setattr(
        lm_eval.tasks, "TaskManager", functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
    )
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    (tmp_path / "docs.jsonl").write_text(
        "".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS)
    )
    task = {
        "task": "short_endings",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "docs.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": [" dog", " can fly"],
        "doc_to_target": 0,
    }
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "short.yaml").write_text(yaml.safe_dump(task))
    options = {
        "model": "hf",
        "model_args": {"pretrained": str(model_dir)},
        "device": "cpu",
        "tasks": ["short_endings"],
        "include_path": str(tmp_path / "tasks"),
        "limit": 2,
        "output_path": str(tmp_path / "out"),
        "gilot": {"select": {"n": 1}, "methods": ["l2"], "num_threads": 1, "absence": "mask"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(options))
    return path


def test_settings_in_lm_evals_configuration_hold_beside_stronger_ones(
    gilot: Gilot, config: Path, tmp_path: Path
) -> None:
    ended = gilot("run", "--config", config, "--gilot-args", "absence=delete")
    assert ended.code == cli.DONE, ended.err
    run = load_run(tmp_path / "out")
    assert [list(record.scores) for record in run.explained] == [["l2", "margin"]]
    assert run.manifest is not None
    (settings,) = run.manifest["configs"].values()
    assert (settings["absence"], settings["methods"]) == ("delete", ["l2"])


class Failing:
    """A plugin that looks on and fails."""

    @hookimpl
    def gilot_requests_sending(self, run: Any, request_type: str, requests: Any) -> None:
        raise RuntimeError("of a plugin")


@pytest.fixture
def failing() -> Iterator[None]:
    """The plugin, registered."""
    plugin = Failing()
    manager().register(plugin)
    yield
    manager().unregister(plugin)


@pytest.mark.usefixtures("failing")
def test_a_plugin_that_fails_while_looking_on_is_an_exit_code_of_its_own(
    gilot: Gilot, config: Path, tmp_path: Path
) -> None:
    ended = gilot("run", "--config", config)
    assert ended.code == cli.UNEXPLAINED
    assert "failed: a plugin in gilot_requests_sending, while the model was scored" in ended.err
    run = load_run(tmp_path / "out")
    assert run.evaluation is not None
    assert len(run.explained) == 1
