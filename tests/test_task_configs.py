"""The settings that ship for well-known tasks, against lm-eval's own registry."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.tasks import TaskManager

from gilot_plugin.config import GilotConfig
from gilot_plugin.config_sources import task_config

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


def test_every_pattern_means_tasks_of_lm_eval_that_its_settings_can_explain() -> None:
    """One test, because lm-eval's registry takes seconds to read."""
    manager = TaskManager()
    configs: dict[str, Any] = {name: manager.task_index[name].cfg for name in manager.all_subtasks}
    for name, pattern in PATTERNS:
        config = GilotConfig(**CONTENTS[name]["settings"])
        tasks = [task for task in configs if fnmatchcase(task, pattern)]
        output_types = {configs[task].get("output_type") for task in tasks}
        assert output_types & EXPLAINED[config.target], f"{name}: {pattern!r} has nothing to explain"
        assert all(task_config(task, None, {}) == config for task in tasks), (
            f"{name}: {pattern!r} is shadowed"
        )
