"""Shells complete commands, options and files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import shtab

from gilot_plugin import cli
from gilot_plugin.commands.completion import SHELLS

#: What bash does when the tab key is pressed after some words.
PRESS_TAB = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_shtab_gilot
printf "%s\\n" "${COMPREPLY[@]}"
"""

Complete = Callable[..., set[str]]


def printed(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--print-completion", shell])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def complete(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Complete:
    """What bash proposes after some words, in a folder of the test's own."""
    script = tmp_path / "completion.bash"
    script.write_text(printed("bash", capsys))
    folder = tmp_path / "work"
    (folder / "results").mkdir(parents=True)
    (folder / "settings.yaml").touch()

    def ask(*words: str) -> set[str]:
        command: Sequence[str] = ["bash", "-c", PRESS_TAB, "bash", str(script), "gilot", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    return ask


def test_commands_options_choices_and_files(complete: Complete) -> None:
    assert complete("v") == {"view", "validate"}
    assert complete("export", "results", "--form") == {"--format"}
    assert complete("export", "results", "--format", "p") == {"parquet"}
    assert complete("view", "") == {"results"}
    assert complete("validate", "") == {"results", "settings.yaml"}
    assert complete("compare", "results", "r") == {"results"}


def test_options_of_lm_eval_are_those_of_run(complete: Complete) -> None:
    assert complete("run", "--ta") == {"--tasks"}
    assert complete("run", "--gil") == {"--gilot", "--gilot_args"}
    assert complete("run", "--gilot", "s") == {"settings.yaml"}
    assert complete("run", "--output_path", "") == {"results"}


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(shell, capsys)
    for word in ("gilot", "faithfulness", "no_browser"):
        assert word in script


def test_the_shells_are_those_that_there_are_scripts_for() -> None:
    assert sorted(SHELLS) == sorted(shtab.SUPPORTED_SHELLS)
