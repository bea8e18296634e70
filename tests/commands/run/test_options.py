"""``gilot run``: what it hands to lm-eval, and which options it refuses before a model loads."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import lm_eval._cli.harness
import lm_eval._cli.run
import lm_eval.evaluator
import pytest
import yaml

from gilot_plugin import cli
from gilot_plugin.harness.entry import command
from tests.commands.run.launching import ModelLoadsError, Refused, run


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
