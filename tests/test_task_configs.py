"""The settings that ship for well-known tasks, against lm-eval's own registry."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from gilot_plugin.config import GilotConfig
from gilot_plugin.config_sources import shipped_settings, task_config

_FOLDER = Path(__file__).parent.parent / "task_configs"
FILES = sorted(_FOLDER.glob("*.yaml"))
CONTENTS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
PATTERNS = [(name, pattern) for name, content in CONTENTS.items() for pattern in content["tasks"]]

#: Output types of lm-eval that can be explained with each target.
EXPLAINED = {
    "auto": {"generate_until", "multiple_choice"},
    "generation": {"generate_until", "multiple_choice"},
    "choices": {"multiple_choice"},
}


@pytest.fixture(scope="module")
def output_types() -> dict[str, str]:
    """Output type of every task that lm-eval knows, by name."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager()
    configs: dict[str, Any] = {name: manager.task_index[name].cfg for name in manager.all_subtasks}
    return {name: config["output_type"] for name, config in configs.items() if "output_type" in config}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_has_tasks_and_valid_settings(name: str) -> None:
    content = CONTENTS[name]
    assert set(content) == {"tasks", "settings"}
    assert content["tasks"]
    assert content["settings"]
    GilotConfig(**content["settings"])


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_leaves_presets_and_the_run_to_the_user(name: str) -> None:
    own = {"preset", "select", "seed", "batch_size", "memory_budget", "num_threads", "output_path"}
    assert not own & set(CONTENTS[name]["settings"])


@pytest.mark.parametrize(("name", "pattern"), PATTERNS)
def test_a_pattern_means_tasks_that_its_settings_can_explain(
    name: str, pattern: str, output_types: dict[str, str]
) -> None:
    settings = CONTENTS[name]["settings"]
    matching = {task: kind for task, kind in output_types.items() if fnmatchcase(task, pattern)}
    assert matching, f"no task of lm-eval is named like {pattern!r}"
    explained = {task for task, kind in matching.items() if kind in EXPLAINED[GilotConfig(**settings).target]}
    assert explained


@pytest.mark.parametrize(("name", "pattern"), PATTERNS)
def test_a_task_gets_the_settings_of_its_file(name: str, pattern: str, output_types: dict[str, str]) -> None:
    for task in (task for task in output_types if fnmatchcase(task, pattern)):
        assert shipped_settings(task) == CONTENTS[name]["settings"]
        assert task_config(task, None, {}) == GilotConfig(**CONTENTS[name]["settings"])
