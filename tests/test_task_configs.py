"""The settings that ship for well-known tasks, against lm-eval's own registry."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from lm_eval.tasks import TaskManager

from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.sources import shipped_source, task_config

_FOLDER = Path(__file__).parent.parent / "task_configs"
FILES = sorted(_FOLDER.glob("*.yaml"))
CONTENTS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in FILES}
PATTERNS = [(name, pattern) for name, content in CONTENTS.items() for pattern in content["tasks"]]


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_has_tasks_and_valid_settings(name: str) -> None:
    content = CONTENTS[name]
    assert set(content) == {"tasks", "output_types", "settings"}
    assert content["tasks"]
    assert content["settings"]
    config = GilotConfig(**content["settings"])
    # Only choices are compared by the character, and they are all that has a target of its own.
    if config.choice_scoring == "norm" or config.target == "choices":
        assert "multiple_choice" in content["output_types"]


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_says_why(name: str) -> None:
    assert (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_leaves_presets_and_the_run_to_the_user(name: str) -> None:
    own = {"preset", "select", "seed", "batch_size", "memory_budget", "num_threads", "output_path"}
    assert not (own | {"budget", "resume", "rolling_target"}) & set(CONTENTS[name]["settings"])


@pytest.mark.slow  # it reads the file of every task of lm-eval
def test_every_pattern_means_tasks_of_lm_eval_with_the_output_types_that_its_file_names() -> None:
    """One test, because lm-eval's registry takes seconds to read."""
    manager = TaskManager()
    configs: dict[str, Any] = {name: manager.task_index[name].cfg for name in manager.all_subtasks}
    matches = {pattern: [task for task in configs if fnmatchcase(task, pattern)] for _, pattern in PATTERNS}
    problems = []
    for name, pattern in PATTERNS:
        config = GilotConfig(**CONTENTS[name]["settings"])
        if not matches[pattern]:
            problems.append(f"{name}: {pattern!r} names no task of lm-eval")
        for task in matches[pattern]:
            output_type = configs[task].get("output_type")
            rivals = [other for _, other in PATTERNS if task in matches[other] and other != pattern]
            if any(len(other) == len(pattern) for other in rivals):
                problems.append(f"{name}: {pattern!r} and {rivals} are equally good for {task}")
            if any(len(other) > len(pattern) for other in rivals):
                continue
            if output_type not in CONTENTS[name]["output_types"]:
                problems.append(f"{name}: {pattern!r} matches {task}, of type {output_type}")
            if task_config(task, None, {}) != config:
                problems.append(f"{name}: {task} has other settings")
    assert problems == []


#: Families that are run every day.
FAMILIES = (
    *("hellaswag", "arc_easy", "arc_challenge", "mmlu_anatomy", "mmlu_anatomy_generative", "mmlu_pro_law"),
    *("truthfulqa_mc1", "truthfulqa_mc2", "truthfulqa_gen", "gsm8k", "gsm8k_cot", "ifeval", "winogrande"),
    *("bbh_cot_fewshot_snarks", "piqa", "boolq", "lambada_openai", "wikitext", "humaneval", "mbpp"),
    *("mgsm_direct_en", "drop", "openbookqa", "commonsense_qa", "sciq", "triviaqa", "nq_open", "race"),
    *("minerva_math_algebra", "hendrycks_math_algebra", "rte", "copa", "xnli_en", "xcopa_et"),
    *("xstorycloze_en", "gpqa_main_zeroshot", "leaderboard_bbh_snarks", "leaderboard_musr_murder_mysteries"),
)


@pytest.mark.parametrize("task", FAMILIES)
def test_families_that_people_run_have_settings(task: str) -> None:
    assert shipped_source(task).settings
