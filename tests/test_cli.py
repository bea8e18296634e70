"""The command ``gilot``: what it lists, and how it ends. ``gilot run`` has more tests in commands/run/."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import gilot_plugin
from gilot_plugin import cli
from gilot_plugin.artifacts.names import manifest_name
from gilot_plugin.commands.shared import underscored
from gilot_plugin.errors import GilotError
from gilot_plugin.harness.entry import command
from gilot_plugin.harness.entry.attach import Attachment
from gilot_plugin.harness.state.run import ChosenOfTask, EvaluationRun, RunFiles
from tests.artifacts import factories


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Gilot = Callable[..., Ended]


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


def test_help_lists_the_commands(gilot: Gilot) -> None:
    ended = gilot("--help")
    assert ended.code == cli.DONE
    for name in (
        *("run", "settings", "show", "report", "figures", "card", "compare"),
        *("validate", "methods", "plugins", "faithfulness"),
    ):
        assert re.search(rf"^    {name}\s", ended.out, re.M)


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["frobnicate"], ["methods", "too", "many"], ["show"], ["validate"], ["report"]),
        *(["compare", "one"], ["card", "run"], ["show", "run", "--limit", "-1"]),
    ],
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
    assert "gilot_plugin.harness.choosing.plugin" in "".join(names)


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


def _run_with(*statuses: str, **state: Any) -> Attachment:
    """What remains of an evaluation whose samples ended like this."""
    records = [
        {"status": status, "task": "a", "doc_id": index, "reason": f"because {index}"}
        for index, status in enumerate(statuses)
    ]
    for record in records[: state.get("without_a_method", 0)]:
        record["diagnostics"] = {"failed_methods": {"gradient": "ValueError: why"}}
    run = EvaluationRun(lm=None, tasks={}, model_name="m", files=RunFiles(Path("out"), "d"), records=records)
    run.seen.failed_hooks |= state.get("failed_hooks", set())
    run.chosen["a"] = ChosenOfTask(len(statuses), error=state.get("selection_error"))
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
        (_run_with("ok", "failed"), cli.UNEXPLAINED, ["1 ok, 1 failed", "failed: a doc 1: because 1"]),
        (
            _run_with("ok", without_a_method=1),
            cli.UNEXPLAINED,
            ["1 ok", "failed: method gradient of a doc 0: ValueError: why"],
        ),
        (_run_with("ok", interrupted=True), cli.UNEXPLAINED, ["not every chosen sample was explained"]),
        (
            _run_with("ok", failed_hooks={"gilot_requests_sending"}),
            cli.UNEXPLAINED,
            ["1 ok", "failed: a plugin in gilot_requests_sending, while the model was scored"],
        ),
        (_run_with(selection_error="no such metric"), cli.UNEXPLAINED, ["a: nothing chosen: no such metric"]),
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


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An attributed run."""
    factories.write_run(tmp_path / "run", [factories.make_record(doc_id=doc) for doc in range(8)])
    return tmp_path / "run"


def test_a_report_is_written_beside_the_run(gilot: Gilot, run: Path) -> None:
    page = run / f"report_{factories.DATE}.html"
    assert gilot("report", str(run)) == (cli.DONE, f"{page}\n", "")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert gilot("report", str(run), "--output_path", str(run / "new" / "r.html")).code == cli.DONE
    assert (run / "new" / "r.html").read_bytes() == page.read_bytes()


def test_the_folder_of_a_run_is_all_that_a_command_needs_to_name_its_output(
    gilot: Gilot, run: Path, tmp_path: Path
) -> None:
    for number, option in enumerate(("--output_path", "--output-path", "--output")):
        assert gilot("report", str(run), option, str(tmp_path / f"{number}.html")).code == cli.DONE
        assert (
            gilot("figures", str(run), f"{option}={tmp_path / str(number)}", "--limit", "0").code == cli.DONE
        )
        assert (tmp_path / f"{number}.html").is_file()
        assert (tmp_path / str(number) / "segments.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "spelled"),
    [
        (["run", "--gilot-args", "a-b=c-d"], ["run", "--gilot_args", "a-b=c-d"]),
        (["--output-path=a-b", "a-b", "-x-y"], ["--output_path=a-b", "a-b", "-x-y"]),
        (["--no-color", "--", "-"], ["--no_color", "--", "-"]),
        (["--- a-b", "--1-2", "--a b-c"], ["--- a-b", "--1-2", "--a b-c"]),
    ],
)
def test_hyphens_in_options_are_underscores(arguments: list[str], spelled: list[str]) -> None:
    assert underscored(arguments) == spelled


def test_options_with_hyphens_are_taken_by_every_command(gilot: Gilot, run: Path, tmp_path: Path) -> None:
    assert gilot("card", str(run), "--model-card", str(tmp_path / "README.md")).code == cli.DONE
    assert gilot("show", str(run), "--no-color", "--list").code == cli.DONE
    refused = gilot("run", "--tasks", "a", "--gilot-args", "num_beam=2")
    assert refused.code == cli.WRONG
    assert "num_beam=2: unknown setting" in refused.err


def test_of_many_samples_twenty_are_shown_and_the_others_are_counted(gilot: Gilot, tmp_path: Path) -> None:
    factories.write_run(tmp_path / "run", [factories.make_record(doc_id=doc) for doc in range(23)])
    run = str(tmp_path / "run")
    sheets = gilot("show", run).out
    assert (
        sheets.splitlines()[-1]
        == "not shown: 3 more; see them with --limit 23, or all in one line each with --list"
    )
    told = gilot("show", run, "--limit", "23").out
    assert "not shown" not in told
    sheet = "Answer:"
    assert told.count(sheet) * 20 == sheets.count(sheet) * 23 > 0
    assert "not shown" not in gilot("show", run, "--list").out
    assert "not shown: 22 more; see them with --limit 23" in gilot("show", run, "--list", "--limit", "1").out


@pytest.mark.parametrize("command", ["show", "figures", "faithfulness"])
def test_a_limit_means_the_same_everywhere(command: str, gilot: Gilot) -> None:
    assert "at most so many samples (default: " in " ".join(gilot(command, "--help").out.split())


@pytest.fixture
def two_models(tmp_path: Path) -> Path:
    """A folder with an older run of one model and a newer one of another."""
    for model, date in (("older", factories.DATE), ("newer", factories.LATER)):
        rename = partial(dict.update, model=model)
        records = [factories.edited(factories.make_record(doc_id=doc), rename) for doc in range(8)]
        manifest = factories.make_manifest(records, date=date)
        manifest["model"]["name"] = model
        factories.write_run(tmp_path / "models" / model, records, date=date, manifest=manifest)
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("command", "options"),
    [("report", []), ("show", ["--list"]), ("figures", ["--limit", "0"]), ("card", ["--model_card", "c.md"])],
)
def test_of_several_models_the_newest_run_is_taken_and_said_unless_one_is_chosen(
    command: str, options: list[str], gilot: Gilot, two_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_models)
    newest = gilot(command, str(two_models), *options)
    assert newest.code == cli.DONE
    said = (
        f"taken is the run of newer of {factories.LATER}; there are runs of older, too, which --model chooses"
    )
    assert newest.err == f"{two_models}: {said}\n"
    chosen = gilot(command, str(two_models), *options, "--model", "older")
    assert (chosen.code, chosen.err) == (cli.DONE, "")
    dated = gilot(command, str(two_models), *options, "--date", factories.DATE)
    assert dated.code == cli.DONE
    assert "taken is the run of older" in dated.err
    assert gilot(command, str(two_models), *options, "--model", "nosuch").code == cli.FAILED


def test_two_models_of_a_folder_are_compared(gilot: Gilot, two_models: Path) -> None:
    folder = str(two_models)
    ended = gilot("compare", folder, folder, "--model", "older", "newer")
    assert (ended.code, ended.err) == (cli.DONE, "")
    content = json.loads((two_models / "newer" / f"comparison_{factories.LATER}.json").read_text())
    assert (content["base"], content["tuned"]) == ("older", "newer")
    dated = gilot("compare", folder, folder, "--date", factories.LATER, factories.DATE)
    assert (two_models / "older" / f"comparison_{factories.DATE}.json").is_file()
    assert dated.err.count("taken is the run of") == 2


def test_figures_are_written_in_both_formats(gilot: Gilot, run: Path) -> None:
    ended = gilot("figures", str(run), "--limit", "1")
    folder = run / f"figures_{factories.DATE}"
    assert ended.out.split() == [
        str(folder / name)
        for name in ("segments.png", "segments.svg", "heat_films_0_p0.png", "heat_films_0_p0.svg")
    ]
    assert all(Path(name).stat().st_size for name in ended.out.split())


def test_a_card_is_made_renewed_and_left_alone(gilot: Gilot, run: Path, tmp_path: Path) -> None:
    card = tmp_path / "card" / "README.md"
    assert str(card) in gilot("card", str(run), "--model_card", str(card)).out
    made = card.read_bytes()
    assert (card.parent / "gilot" / "heat_1.png").is_file()
    again = gilot("card", str(run), "--model_card", str(card))
    assert (again.code, again.out.splitlines()[-1]) == (cli.DONE, f"{card}: unchanged")
    assert card.read_bytes() == made
    card.write_bytes(made.replace(b"# tiny-model", b"# My model"))
    assert gilot("card", str(run), "--model_card", str(card), "--method", "kl").code == cli.DONE
    assert b"# My model" in card.read_bytes()
    assert b"scores of kl" in card.read_bytes()


def test_a_broken_card_is_refused_and_nothing_is_written(gilot: Gilot, run: Path, tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("<!-- gilot:begin -->")
    ended = gilot("card", str(run), "--model_card", str(card))
    assert ended.code == cli.FAILED
    assert "markers are broken" in ended.err
    assert card.read_text() == "<!-- gilot:begin -->"
    assert not (tmp_path / "gilot").exists()


def test_an_audit_is_told_and_written(gilot: Gilot, run: Path, tmp_path: Path) -> None:
    scores = {"ot": [0.0, 0.0, 0.0, 0.9, 0.0, 0.0]}
    tuned = tmp_path / "tuned"
    factories.write_run(tuned, [factories.make_record(doc_id=doc, scores=scores) for doc in range(8)])
    ended = gilot(
        "compare", str(run), str(tuned), "--noise", str(run), "--output_path", str(tmp_path / "audit")
    )
    assert ended.code == cli.DONE
    assert "The word 'not' weighs more: " in ended.out
    content = json.loads((tmp_path / "audit" / f"comparison_{factories.DATE}.json").read_text())
    assert content["words"][0]["name"] == "not"
    assert (tmp_path / "audit" / f"comparison_{factories.DATE}.html").is_file()
    failed = gilot("compare", str(run), str(tuned), "--fail_on", "word_shift=0.2,moved=0.99")
    assert failed.code == cli.FAILED
    assert failed.out.splitlines()[-1].startswith("failed on largest shift of a word")
    passed = gilot("compare", str(run), str(run), "--noise", str(run), "--fail_on", "findings")
    assert passed.code == cli.DONE


def test_a_wrong_threshold_is_refused_before_anything_is_read(gilot: Gilot, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    ended = gilot("compare", nowhere, nowhere, "--fail_on", "much")
    assert ended.code == cli.WRONG
    assert "'much' is unknown; there are findings" in ended.err


def test_artifacts_with_problems_are_no_success(gilot: Gilot, tmp_path: Path) -> None:
    (tmp_path / manifest_name("2026-01-01")).write_text(json.dumps({}))
    ended = gilot("validate", str(tmp_path))
    assert ended.code == cli.FAILED
    assert manifest_name("2026-01-01") in ended.out
    assert "problem" in ended.out.splitlines()[-1]
