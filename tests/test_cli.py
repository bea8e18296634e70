"""The command line: what it takes, what it refuses before a model loads, and how it ends."""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lm_eval._cli.harness
import lm_eval._cli.run
import lm_eval.api.registry
import lm_eval.evaluator
import lm_eval.tasks
import pytest
import yaml

import gilot_plugin
from gilot_plugin import cli
from gilot_plugin.artifacts.names import manifest_name
from gilot_plugin.errors import GilotError
from gilot_plugin.harness import command, task_files
from gilot_plugin.harness.attach import Attachment
from gilot_plugin.harness.run import EvaluationRun, Selection


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Gilot = Callable[..., Ended]


class ModelLoadsError(Exception):
    """lm-eval has come as far as making a model."""


class UnloadableModel:
    """Stands for lm-eval's model classes."""

    @classmethod
    def create_from_arg_obj(cls, *args: Any, **kwargs: Any) -> Any:
        raise ModelLoadsError


@pytest.fixture
def gilot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gilot:
    """Runs the command in this process."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        try:
            code = cli.main(arguments)
        except SystemExit as end:  # of argparse
            code = end.code if isinstance(end.code, int) else 1
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def refused(gilot: Gilot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """Runs ``gilot run`` in an empty folder, expects exit code 2, no model and no artifacts, and returns the message."""
    monkeypatch.chdir(tmp_path)
    # Its own tasks take lm-eval seconds to read.
    monkeypatch.setattr(
        lm_eval.tasks, "TaskManager", functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
    )

    def get_model(name: str) -> type[UnloadableModel]:
        if name != "hf":
            raise ValueError(f"no model for this name found: {name}")
        return UnloadableModel

    monkeypatch.setattr(lm_eval.api.registry, "get_model", get_model)

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        ended = gilot("run", *arguments)
        assert ended.code == cli.WRONG
        assert "Traceback" not in ended.err
        assert sorted(tmp_path.rglob("*")) == before
        return ended.err

    return run


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


def test_help_lists_the_commands(gilot: Gilot) -> None:
    ended = gilot("--help")
    assert ended.code == cli.DONE
    for name in ("run", "show", "validate", "methods", "plugins"):
        assert f"\n    {name} " in ended.out


@pytest.mark.parametrize(
    "arguments", [[], ["frobnicate"], ["methods", "too", "many"], ["show"], ["validate"]]
)
def test_a_wrong_command_is_told_how_to_write_it(arguments: list[str], gilot: Gilot) -> None:
    ended = gilot(*arguments)
    assert ended.code == cli.WRONG
    assert ended.err.startswith("usage: gilot")
    assert "error: " in ended.err


def test_the_version_can_be_asked_for(gilot: Gilot) -> None:
    assert gilot("--version") == (cli.DONE, f"gilot-plugin {gilot_plugin.__version__}\n", "")


def test_methods_lists_what_settings_can_name(gilot: Gilot) -> None:
    ended = gilot("methods")
    assert ended.code == cli.DONE
    for name in (
        "setting methods",
        "ot",
        "setting absence",
        "delete",
        "setting select.strategy",
        "incorrect",
    ):
        assert name in ended.out


@pytest.mark.parametrize("columns", ["300", "60"])
def test_plugins_lists_names_in_full(columns: str, gilot: Gilot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    ended = gilot("plugins")
    assert ended.code == cli.DONE
    assert "…" not in ended.out
    names = [line.split("│")[1].strip() for line in ended.out.splitlines() if line.startswith("│")]
    assert "gilot_plugin.harness.selection" in "".join(names)


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
def test_help_of_run_shows_the_options_of_both(arguments: list[str], gilot: Gilot) -> None:
    ended = gilot("run", *arguments)
    assert ended.code == cli.DONE
    assert ended.out.startswith("usage: gilot run")
    assert all(option in ended.out for option in (*_OPTIONS, "--gilot ", "--gilot_args"))
    assert "lm-eval run" not in ended.out


def test_run_hands_lm_eval_its_own_options_with_an_attachment_in_place(
    refused: Callable[..., str], gilot: Gilot, of_tasks: list[str], monkeypatch: pytest.MonkeyPatch
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
    ended = gilot("run", *own, "--gilot_args", "num_beams=2")
    assert ended.code == cli.DONE
    assert seen == [vars(_lm_eval_parser().parse_args(own))]
    assert lm_eval.evaluator.evaluate is original


@pytest.mark.parametrize("name", ["plain", "right", "group_mending", "p*", "tasks/right.yaml"])
def test_what_is_not_refused_comes_to_load_a_model(
    name: str, refused: Callable[..., str], of_tasks: list[str]
) -> None:
    with pytest.raises(ModelLoadsError):
        refused(*of_tasks, "--tasks", name, "--gilot_args", "num_beams=2")


def test_arguments_win_over_the_file_and_may_be_given_in_several_pieces(
    refused: Callable[..., str], of_tasks: list[str]
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
        (["--gilot_args", "preset=refrence"], "'default', 'reference'"),
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
    settings: list[str], reason: str, refused: Callable[..., str], of_tasks: list[str]
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
    names: list[str], refused: Callable[..., str], of_tasks: list[str]
) -> None:
    message = refused(*of_tasks, "--tasks", *names)
    assert (
        "task wrong: num_beams=0: " in message or "task wrong_kind: metadata.gilot: must be a map" in message
    )


@pytest.mark.parametrize(
    ("name", "task"), [("heir", "heir"), ("tasks/heir.yaml", "heir"), ("group_of_inline", "inline")]
)
def test_wrong_settings_that_a_task_inherits_are_refused(
    name: str, task: str, refused: Callable[..., str], of_tasks: list[str]
) -> None:
    assert f"task {task}: num_beams=0: " in refused(*of_tasks, "--tasks", name)


def test_wrong_settings_of_a_task_count_even_where_the_user_gives_others(
    refused: Callable[..., str], of_tasks: list[str]
) -> None:
    assert "task wrong: num_beams=0" in refused(*of_tasks, "--tasks", "wrong", "--gilot_args", "seed=1")
    with pytest.raises(ModelLoadsError):
        refused(*of_tasks, "--tasks", "wrong", "--gilot_args", "num_beams=3")


def test_settings_of_a_group_are_refused_because_they_would_have_no_effect(
    refused: Callable[..., str], of_tasks: list[str]
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
    names: list[str], reason: str, refused: Callable[..., str], of_tasks: list[str]
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
    options: list[str], reason: str, refused: Callable[..., str], tasks: Path
) -> None:
    Path("file").write_text("in the way")
    assert reason in refused("--include_path", str(tasks), "--tasks", "plain", *options)


@pytest.mark.parametrize(
    "options", [["--output_path", "out/results.json"], ["--gilot_args", "output_path=out"]]
)
def test_a_folder_may_be_named_in_several_ways(
    options: list[str], refused: Callable[..., str], tasks: Path
) -> None:
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
        (["--config", "nowhere.yaml"], "Config file not found"),
        (["--config", "unknown.yaml"], "frobnicate"),
        (["--model", "nosuch"], "--model nosuch: no model for this name found"),
    ],
)
def test_what_lm_eval_would_refuse_late_is_refused_early(
    options: list[str], reason: str, refused: Callable[..., str], of_tasks: list[str]
) -> None:
    Path("unknown.yaml").write_text("frobnicate: 1")
    assert reason in refused(*of_tasks, "--tasks", "plain", *options)


def test_options_and_tasks_may_come_from_a_config_file_of_lm_eval(
    refused: Callable[..., str], tasks: Path
) -> None:
    options = {"model": "hf", "tasks": ["wrong"], "include_path": str(tasks), "output_path": "out"}
    Path("config.yaml").write_text(yaml.safe_dump(options))
    assert "task wrong: num_beams=0" in refused("--config", "config.yaml")
    with pytest.raises(ModelLoadsError):
        refused("--config", "config.yaml", "--tasks", "plain")


def test_a_refusal_is_an_exit_code_of_the_process_and_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "gilot_plugin.cli",
            "run",
            "--tasks",
            "a",
            "--gilot_args",
            "units={regex: '(?:q:)('}",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "40"},
    )
    assert done.returncode == cli.WRONG
    assert done.stdout == ""
    reason = "the pattern does not compile: missing ) at position 7"
    assert done.stderr.splitlines()[-1] == f"error: units={{'regex': '(?:q:)('}}: {reason}"


def test_an_older_index_is_read_through_the_files(tasks: Path) -> None:
    """lm-eval before 0.4.12 keeps paths instead of contents, and mappings instead of entries."""
    (tasks / "function.yaml").write_text(
        "include: [wrong.yaml]\ntask: function\ndoc_to_text: !function a.b\n"
    )

    class Manager:
        task_index = {
            "function": {"type": "task", "yaml_path": str(tasks / "function.yaml")},
            "plain": {"type": "task", "yaml_path": str(tasks / "plain.yaml")},
            "tagged": {"type": "tag", "task": ["function", "plain"], "yaml_path": -1},
            "python": {"type": "python_task", "yaml_path": str(tasks / "right.yaml")},
        }

    settings = list(task_files.own_settings(Manager(), ["tagged", "python", "unheard_of"]))
    assert sorted(settings, key=str) == [("function", {"num_beams": 0}), ("right", {"num_beams": 2})]


def _run_with(*statuses: str, **state: Any) -> Attachment:
    """What remains of an evaluation whose samples ended like this."""
    records = [
        {"status": status, "task": "a", "doc_id": index, "reason": f"because {index}"}
        for index, status in enumerate(statuses)
    ]
    run = EvaluationRun(lm=None, tasks={}, model_name="m", folder=Path("out"), date="d", records=records)
    run.selections["a"] = Selection(len(statuses), error=state.get("selection_error"))
    attachment = Attachment({}, None)
    attachment.runs.append(run)
    attachment.interrupted = state.get("interrupted", False)
    return attachment


@pytest.mark.parametrize(
    ("attachment", "code", "said"),
    [
        (Attachment({}, None), cli.DONE, []),
        (_run_with("ok", "ok"), cli.DONE, ["2 samples (2 ok)", "gilot show out"]),
        (_run_with(), cli.DONE, ["0 samples (none chosen)"]),
        (_run_with("ok", "skipped"), cli.DONE, ["1 ok, 1 skipped", "skipped: a doc 1: because 1"]),
        (_run_with("ok", "failed"), cli.FAILED, ["1 ok, 1 failed", "failed: a doc 1: because 1"]),
        (_run_with("ok", interrupted=True), cli.FAILED, ["not every chosen sample was explained"]),
        (_run_with(selection_error="no such metric"), cli.FAILED, ["a: nothing chosen: no such metric"]),
    ],
)
def test_a_run_ends_by_what_became_of_its_samples(
    attachment: Attachment, code: int, said: list[str], gilot: Gilot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "run_command", lambda arguments: attachment)
    ended = gilot("run", "--tasks", "a")
    assert ended.code == code
    assert ended.out == ""  # lm-eval's tables are all that a pipe reads
    assert all(text in ended.err for text in said)


def test_an_error_that_is_no_setting_ends_with_another_code(
    gilot: Gilot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(arguments: list[str]) -> Attachment:
        raise GilotError("the [disk] is full :cd:")

    monkeypatch.setattr(command, "run_command", fail)
    assert gilot("run", "--tasks", "a") == (cli.FAILED, "", "error: the [disk] is full :cd:\n")


def test_a_run_that_is_not_there_is_named(gilot: Gilot, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    shown, validated = gilot("show", nowhere), gilot("validate", nowhere)
    assert (shown.code, validated.code) == (cli.FAILED, cli.FAILED)
    assert f"error: {nowhere}: " in shown.err
    assert f"{nowhere}: " in validated.out


def test_artifacts_with_problems_are_no_success(gilot: Gilot, tmp_path: Path) -> None:
    (tmp_path / manifest_name("2026-01-01")).write_text(json.dumps({}))
    ended = gilot("validate", str(tmp_path))
    assert ended.code == cli.FAILED
    assert manifest_name("2026-01-01") in ended.out
    assert "problem" in ended.out.splitlines()[-1]
