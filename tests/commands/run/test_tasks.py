"""``gilot run`` before a model loads: the tasks that are named, and the settings that they bring."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from gilot_plugin.harness.entry import task_files
from tests.commands.run.launching import ModelLoadsError, Refused


@pytest.mark.parametrize(
    "names",
    [
        ["wrong"],
        ["plain", "wrong"],
        ["plain,wrong"],
        ["w*"],
        ["tagged"],
        ["group"],
        ["outer_group"],
        ["group_of_changed"],
        ["group_of_tag"],
        ["tasks/wrong.yaml"],
        ["tasks/group.yaml"],
        ["plain", "tasks/wr*.yaml"],
    ],
)
def test_wrong_settings_of_a_task_are_refused_however_it_is_named(
    names: list[str], refused: Refused, of_tasks: list[str]
) -> None:
    message = refused(*of_tasks, "--tasks", *names)
    assert (
        "task wrong: num_beams=0: " in message or "task wrong_kind: metadata.gilot: must be a map" in message
    )


@pytest.mark.parametrize(
    ("name", "task"), [("heir", "heir"), ("tasks/heir.yaml", "heir"), ("group_of_inline", "inline")]
)
def test_wrong_settings_that_a_task_inherits_are_refused(
    name: str, task: str, refused: Refused, of_tasks: list[str]
) -> None:
    assert f"task {task}: num_beams=0: " in refused(*of_tasks, "--tasks", name)


def test_wrong_settings_of_a_task_count_even_where_the_user_gives_others(
    refused: Refused, of_tasks: list[str]
) -> None:
    assert "task wrong: num_beams=0" in refused(*of_tasks, "--tasks", "wrong", "--gilot_args", "seed=1")
    with pytest.raises(ModelLoadsError):
        refused(*of_tasks, "--tasks", "wrong", "--gilot_args", "num_beams=3")


def test_settings_of_a_group_are_refused_because_they_would_have_no_effect(
    refused: Refused, of_tasks: list[str]
) -> None:
    message = refused(*of_tasks, "--tasks", "group_with_settings")
    assert "group group_with_settings: metadata.gilot has no effect" in message


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "no tasks are named: add --tasks"),
        (["--tasks"], "expected at least one argument"),
        (["--tasks", "nosuch"], "Tasks not found: nosuch"),
        (["--tasks", "plain", "nosuch"], "Tasks not found: nosuch"),
        (["--tasks", "nosuch.yaml"], "Tasks not found"),
        (["--tasks", "broken.yaml"], "broken.yaml"),
        (["--tasks", "nameless.yaml"], "names neither a task nor a group; it has 'dataset_path'"),
        (["--tasks", "lost.yaml"], "nowhere.yaml"),
        (["--tasks", "function.yaml"], "nowhere"),
        (["--tasks", "list.yaml"], "list.yaml"),
    ],
)
def test_tasks_that_cannot_be_found_or_read_are_named(
    names: list[str], reason: str, refused: Refused, of_tasks: list[str]
) -> None:
    Path("broken.yaml").write_text("task: a\n b: [")
    Path("nameless.yaml").write_text("dataset_path: json")
    Path("lost.yaml").write_text("task: a\ninclude: nowhere.yaml")
    Path("function.yaml").write_text("task: a\ndoc_to_text: !function nowhere.text")
    Path("list.yaml").write_text("- task")
    assert reason in refused(*of_tasks, *names)


def test_an_older_index_is_read_through_the_files(tasks: Path) -> None:
    """lm-eval before 0.4.12 keeps paths instead of contents, and mappings instead of entries."""
    (tasks / "function.yaml").write_text(
        "include: [wrong.yaml]\ntask: function\ndoc_to_text: !function a.b\n"
    )

    class Manager:
        task_index: ClassVar = {
            "function": {"type": "task", "yaml_path": str(tasks / "function.yaml")},
            "plain": {"type": "task", "yaml_path": str(tasks / "plain.yaml")},
            "tagged": {"type": "tag", "task": ["function", "plain"], "yaml_path": -1},
            "python": {"type": "python_task", "yaml_path": str(tasks / "right.yaml")},
        }

    settings = list(task_files.task_files(Manager(), ["tagged", "python", "unheard_of"]))
    assert sorted(settings, key=str) == [
        ("function", {"num_beams": 0}, "generate_until"),
        ("plain", None, "generate_until"),
        ("right", {"num_beams": 2}, "generate_until"),
        ("unheard_of", None, None),
    ]
