"""Groups of tasks, taken together."""

from __future__ import annotations

import pytest

from gilot_plugin.analysis.ablation import ablation_table
from gilot_plugin.analysis.ablation_groups import grouped, groups_around
from gilot_plugin.artifacts.ablations import TaskAblation
from tests.analysis.ablations import make_ablation


def _of_group(task: str, count: int, without: int) -> TaskAblation:
    found = make_ablation(
        {"full": [1.0] * count, "without shots": [1.0] * without + [0.0] * (count - without)}, task=task
    )
    found.plan = found.plan.model_copy(update={"groups": ("all",)})
    return found


def test_a_group_has_the_mean_over_all_samples_of_its_tasks() -> None:
    tasks = [_of_group("small", 4, 0), _of_group("large", 12, 6)]
    changes = {(one.task, one.arm): one for one in ablation_table(tasks).changes}
    group = changes["group all", "without shots"]
    assert (group.samples, group.full, group.score) == (16, 1.0, pytest.approx(6 / 16))
    assert group.test == "McNemar"
    assert group.is_finding
    assert not changes["small", "without shots"].is_finding
    assert next(iter(changes))[0] == "group all"


def test_what_not_all_tasks_have_is_left_out() -> None:
    tasks = [_of_group("small", 4, 0), _of_group("large", 12, 6)]
    del tasks[0].arms["without shots"]
    (group,) = grouped(tasks)
    assert group.plan.arms == ("full",)
    assert list(grouped(tasks[:1])) == []


def test_groups_in_groups_are_found() -> None:
    members = {"all": ["science", "law"], "science": ["physics"], "other": ["law"]}
    assert groups_around("physics", members) == ("science", "all")
    assert groups_around("law", members) == ("all", "other")
    assert groups_around("alone", {"alone": ["alone"]}) == ()
