"""``gilot run``: what it hands to lm-eval, and what it refuses before a model loads."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import lm_eval._cli.harness
import lm_eval._cli.run
import lm_eval.api.registry
import lm_eval.evaluator
import lm_eval.tasks
import pytest
import yaml

from gilot_plugin import cli
from gilot_plugin.harness.entry import command, task_files

Refused = Callable[..., str]


class ModelLoadsError(Exception):
    """lm-eval has come as far as making a model."""


class UnloadableModel:
    """Stands for lm-eval's model classes."""

    @classmethod
    def create_from_arg_obj(cls, *args: Any, **kwargs: Any) -> Any:
        raise ModelLoadsError


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


def run(arguments: Sequence[str]) -> Any:
    """Run the command in this process: its exit code."""
    try:
        return cli.main(["run", *arguments])
    except SystemExit as end:  # of argparse
        return end.code


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


def _lm_eval_parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = lm_eval._cli.harness.HarnessCLI()._subparsers.choices["run"]
    return parser


_OPTIONS = {
    option: action
    for option, action in _lm_eval_parser()._option_string_actions.items()
    if action.dest != "help"
}


@pytest.mark.parametrize("option", _OPTIONS)
def test_every_option_of_lm_eval_is_taken_as_it_is(option: str) -> None:
    theirs, ours = _OPTIONS[option], command.make_parser()._option_string_actions[option]
    assert type(ours) is type(theirs)
    for attribute in ("dest", "nargs", "const", "default", "choices", "required", "option_strings"):
        assert getattr(ours, attribute) == getattr(theirs, attribute)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_shows_the_options_of_both(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == cli.DONE
    shown = capsys.readouterr().out
    assert shown.startswith("usage: gilot run")
    assert all(option in shown for option in (*_OPTIONS, "--gilot ", "--gilot_args"))
    assert "lm-eval run" not in shown


def test_run_hands_lm_eval_its_own_options_with_an_attachment_in_place(
    of_tasks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def execute(arguments: argparse.Namespace) -> None:
        seen.append(vars(arguments))
        assert lm_eval.evaluator.evaluate is not original

    original = lm_eval.evaluator.evaluate
    monkeypatch.setattr(lm_eval._cli.run.Run, "_execute", staticmethod(execute))
    own = [
        *of_tasks,
        "-t",
        "plain",
        "right",
        "-b",
        "4",
        "--model_args",
        "a=1,b=[1,2]",
        "--gen_kwargs",
        "c=d",
        "-s",
    ]
    assert run([*own, "--gilot_args", "num_beams=2"]) == cli.DONE
    assert seen == [vars(_lm_eval_parser().parse_args(own))]
    assert lm_eval.evaluator.evaluate is original


@pytest.mark.parametrize("name", ["plain", "right", "group_mending", "p*", "tasks/right.yaml"])
def test_what_is_not_refused_comes_to_load_a_model(name: str, refused: Refused, of_tasks: list[str]) -> None:
    with pytest.raises(ModelLoadsError):
        refused(*of_tasks, "--tasks", name, "--gilot_args", "num_beams=2")


def test_arguments_win_over_the_file_and_may_be_given_in_several_pieces(
    refused: Refused, of_tasks: list[str]
) -> None:
    Path("gilot.yaml").write_text("num_beams: 0\nunits: token\n")
    run = functools.partial(refused, *of_tasks, "--tasks", "plain", "--gilot", "gilot.yaml")
    assert "num_beams=0" in run()
    with pytest.raises(ModelLoadsError):
        run("--gilot_args", "num_beams=2")
    message = run("--gilot_args", "seed=-1", "num_beams=2", "--gilot_args", "top_p=2,top_k=5")
    assert "seed=-1" in message
    assert "top_p=2" in message
    assert "num_beams" not in message


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["--gilot_args", "num_beams=true"], "num_beams=True: must be a number"),
        (["--gilot_args", "num_beam=2"], "did you mean 'num_beams'?"),
        (["--gilot_args", "num_beams"], "write key=value"),
        (["--gilot_args", "units.regex=("], "the pattern does not compile"),
        (["--gilot_args", "top_p=.nan"], "top_p=nan"),
        (["--gilot_args", "preset=refrence"], "'default', 'paper', 'reference'"),
        (["--gilot_args"], "expected at least one argument"),
        (["--gilot"], "expected one argument"),
        (["--gilot", "nowhere.yaml"], "--gilot nowhere.yaml: cannot be read"),
        (["--gilot", "unknown.yaml"], "num_beam=2: unknown setting, did you mean 'num_beams'?"),
        (["--gilot", "list.yaml"], "--gilot list.yaml: must be a mapping"),
        (["--gilot", "numbers.yaml"], "--gilot numbers.yaml: 1 is not the name of a setting"),
        (["--gilot", "unclosed.yaml"], "--gilot unclosed.yaml: not valid YAML"),
    ],
)
def test_wrong_settings_are_refused(
    settings: list[str], reason: str, refused: Refused, of_tasks: list[str]
) -> None:
    Path("unknown.yaml").write_text("num_beam: 2")
    Path("list.yaml").write_text("- num_beams")
    Path("numbers.yaml").write_text("1: 2")
    Path("unclosed.yaml").write_text("num_beams: [")
    assert reason in refused(*of_tasks, "--tasks", "plain", *settings)


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


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "output_path is not set, so attributions would be lost: add --output_path DIR"),
        (["--output_path", ""], "output_path is not set"),
        (["--output_path", "file/below"], "output_path='file/below': cannot write to"),
        (["--output_path", "file"], "output_path='file': cannot write to"),
        (["--output_path", "file/results.json"], "output_path='file': cannot write to"),
        (["--gilot_args", "output_path=file/below"], "output_path='file/below': cannot write to"),
        (["--output_path", "out", "--gilot_args", "output_path=file"], "output_path='file': cannot write to"),
        (["--log_samples"], "Specify --output_path if providing --log_samples"),
    ],
)
def test_artifacts_need_a_folder_that_can_be_written(
    options: list[str], reason: str, refused: Refused, tasks: Path
) -> None:
    Path("file").write_text("in the way")
    assert reason in refused("--include_path", str(tasks), "--tasks", "plain", *options)


@pytest.mark.parametrize(
    "options", [["--output_path", "out/results.json"], ["--gilot_args", "output_path=out"]]
)
def test_a_folder_may_be_named_in_several_ways(options: list[str], refused: Refused, tasks: Path) -> None:
    with pytest.raises(ModelLoadsError):
        refused("--include_path", str(tasks), "--tasks", "plain", *options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["--limit", "few"], "invalid float value: 'few'"),
        (["--model_args", "{not json"], "Invalid JSON: {not json"),
        (["--model_args", "pretrained"], "expected `key=value`"),
        (["--samples", "nowhere.json"], "--samples 'nowhere.json': neither JSON nor a file"),
        (
            ["--samples", '{"plain": [0]}', "--limit", "1"],
            "If --samples is not None, then --limit must be None",
        ),
        (["--fewshot_as_multiturn"], "`apply_chat_template` must be set"),
        (["--config", "nowhere.yaml"], "--config nowhere.yaml: cannot be read"),
        (["--config", "unknown.yaml"], "frobnicate"),
        (["--model", "nosuch"], "--model nosuch: no model for this name found"),
    ],
)
def test_what_lm_eval_would_refuse_late_is_refused_early(
    options: list[str], reason: str, refused: Refused, of_tasks: list[str]
) -> None:
    Path("unknown.yaml").write_text("frobnicate: 1")
    assert reason in refused(*of_tasks, "--tasks", "plain", *options)


def test_options_and_tasks_may_come_from_a_config_file_of_lm_eval(refused: Refused, tasks: Path) -> None:
    options = {"model": "hf", "tasks": ["wrong"], "include_path": str(tasks), "output_path": "out"}
    Path("config.yaml").write_text(yaml.safe_dump(options))
    assert "task wrong: num_beams=0" in refused("--config", "config.yaml")
    with pytest.raises(ModelLoadsError):
        refused("--config", "config.yaml", "--tasks", "plain")


def test_a_section_of_lm_evals_configuration_has_settings_and_is_no_matter_of_lm_evals(
    refused: Refused, of_tasks: list[str]
) -> None:
    options = {"tasks": ["plain"], "include_path": of_tasks[3], "output_path": "out"}
    Path("config.yaml").write_text(yaml.safe_dump({**options, "gilot": {"num_beams": 0}}))
    assert "num_beams=0" in refused("--config", "config.yaml")
    Path("gilot.yaml").write_text("num_beams: 2")
    with pytest.raises(ModelLoadsError):
        refused("--config", "config.yaml", "--gilot", "gilot.yaml")
    Path("config.yaml").write_text(yaml.safe_dump({**options, "gilot": "num_beams=0"}))
    assert "--config config.yaml: gilot: must be a mapping" in refused("--config", "config.yaml")
    Path("config.yaml").write_text(yaml.safe_dump({**options, "gilot": {}, "gilott": {}}))
    assert "gilott" in refused("--config", "config.yaml")


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
