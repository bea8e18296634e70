"""``gilot settings``: what it tells, and what it refuses, without a model."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import lm_eval.tasks
import pytest
import yaml

from gilot_plugin import cli
from tests.commands.conftest import Gilot

TASK = {
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
}


@pytest.fixture(autouse=True)
def _tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder of two tasks, and an lm-eval without its own, which take seconds to read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        lm_eval.tasks, "TaskManager", functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
    )
    tasks: dict[str, Any] = {
        "arc_mine": {**TASK, "task": "arc_mine"},
        "plain": {**TASK, "task": "plain", "metadata": {"version": 1, "gilot": {"top_k": 7}}},
        "wrong": {**TASK, "task": "wrong", "metadata": {"version": 1, "gilot": {"num_beams": 0}}},
        "texts": {**TASK, "task": "texts", "output_type": "loglikelihood_rolling"},
    }
    for name, content in tasks.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def told(gilot: Gilot, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command, and returns its lines, those of tables as their cells."""

    def run(*arguments: str) -> list[Any]:
        monkeypatch.setenv("COLUMNS", "200")
        ended = gilot("settings", "--include_path", ".", *arguments)
        assert (ended.code, ended.err) == (cli.DONE, "")
        return [
            tuple(cell.strip() for cell in line.split("│")[1:-1]) if line.startswith("│") else line.strip()
            for line in ended.out.splitlines()
        ]

    return run


def test_each_setting_that_is_not_by_default_is_told_with_its_source(told: Any) -> None:
    Path("mine.yaml").write_text("seed: 3\nselect: {strategy: incorrect}\n")
    lines = told("--tasks", "plain", "--gilot", "mine.yaml", "--gilot_args", "select.n=20", "preset=paper")
    assert lines[0] == "plain"
    rows = {line[0]: line for line in lines if isinstance(line, tuple)}
    assert rows["seed"] == ("seed", "3", "0", "--gilot mine.yaml")
    assert rows["top_p"] == ("top_p", "0.9999", "0.99", "preset paper, named by --gilot_args")
    assert rows["select"][1].startswith("{strategy: incorrect, over: task, n: 20")
    assert rows["select"][3] == "--gilot mine.yaml, with options of --gilot_args"
    assert "solver" not in rows


def test_settings_that_give_way_are_told_with_the_reason(told: Any) -> None:
    lines = told("--tasks", "arc_mine", "--gilot_args", "target=generation")
    told_last = "gives way: choice_scoring=norm (task_configs/arc.yaml): choice_scoring='norm' has no effect"
    assert lines[-1].startswith(told_last)


def test_all_has_those_that_are_as_by_default(told: Any) -> None:
    lines = told("--all")
    assert lines[0] == "any task that has no settings of its own"
    assert lines[1] == "no setting is other than by default"
    assert ("solver", "auto", "auto", "default") in lines


def test_tasks_that_are_alike_share_a_table(told: Any) -> None:
    Path("other.yaml").write_text(yaml.safe_dump({**TASK, "task": "other"}))
    Path("third.yaml").write_text(yaml.safe_dump({**TASK, "task": "third"}))
    lines = told("--tasks", "third,other", "plain")
    assert "other, third" in lines
    assert "plain" in lines


def test_what_a_task_is_asked_decides_what_rolling_target_stands_for(told: Any) -> None:
    lines = told("--tasks", "texts", "--gilot_args", "rolling_target=3")
    assert ("max_new_tokens", "3", "5", "rolling_target=3") in lines


def test_lm_evals_configuration_names_tasks_and_settings(told: Any) -> None:
    content = {"tasks": ["plain"], "gilot": {"seed": 1, "top_k": 3}, "output_path": "out"}
    Path("config.yaml").write_text(yaml.safe_dump(content))
    Path("mine.yaml").write_text("seed: 2\n")
    lines = told("--config", "config.yaml", "--gilot", "mine.yaml")
    assert "plain" in lines
    assert ("top_k", "3", "1000", "--config config.yaml: gilot") in lines
    assert ("seed", "2", "0", "--gilot mine.yaml") in lines


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--gilot_args", "num_beam=2"], "num_beam=2: unknown setting, did you mean 'num_beams'?"),
        (["--gilot_args", "target=generation,choice_scoring=norm"], "choice_scoring='norm' has no effect"),
        (["--gilot_args", "absence=replace"], "absence='replace' needs replace_with"),
        (["--gilot", "nowhere.yaml"], "--gilot nowhere.yaml: cannot be read"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: cannot be read"),
        (["--config", "listed.yaml"], "--config listed.yaml: gilot: must be a mapping of settings"),
        (["--tasks", "wrong"], "task wrong: num_beams=0"),
        (["--tasks", "nosuch"], "Tasks not found: nosuch"),
    ],
)
def test_wrong_settings_and_names_are_refused(arguments: list[str], reason: str, gilot: Gilot) -> None:
    Path("listed.yaml").write_text("gilot: [1]\n")
    ended = gilot("settings", "--include_path", ".", *arguments)
    assert ended.code == cli.WRONG
    assert reason in " ".join(ended.err.split())


def test_the_schema_is_printed(gilot: Gilot) -> None:
    ended = gilot("settings", "--schema")
    assert ended.code == cli.DONE
    assert json.loads(ended.out)["properties"]["num_beams"]["minimum"] == 1
