"""Every block of code in the documentation runs, or says why it does not.

The models on the hub that pages name are tiny ones here, in folders of the same names, and tasks have few
documents. Bash in README and tutorial is followed by ``make test-docs``, with the model that it names.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lm_eval.__main__
import pytest
import tomllib
from lm_eval.tasks import TaskManager

from gilot_plugin import cli
from tests.documentation.blocks import PAGES, ROOT, Block, blocks_of, commands_in

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
FOLLOWED = ("README.md", "docs/tutorial.md")
DATA: dict[str, Callable[[str], Any]] = {"toml": tomllib.loads}
NOT_CODE = ("text", "console", "")
DOCUMENTS = "3"


def runs_here(page: str, block: Block) -> bool:
    return block.reason is None and not (page in FOLLOWED and block.language == "bash")


def needs_a_run(page: str) -> bool:
    """Whether a page is about a run, or makes some: such pages take seconds each."""
    return any(
        one.language == "bash" or '"results"' in one.text for one in blocks_of(page) if runs_here(page, one)
    )


WITH_RUNS = [page for page in PAGES if needs_a_run(page)]
OTHERS = [
    page for page in PAGES if page not in WITH_RUNS and any(runs_here(page, one) for one in blocks_of(page))
]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_in_languages_that_are_checked(page: str) -> None:
    known = {"bash", "python", *DATA, *NOT_CODE}
    assert {block.language for block in blocks_of(page)} <= known


@pytest.fixture(scope="module")
def place(
    make_tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder as pages suppose it: with the examples and a model."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "examples").symlink_to(ROOT / "examples")
    make_tiny_model("llama", max_position_embeddings=2048).save_pretrained(folder / MODEL)
    tiny_tokenizer.save_pretrained(folder / MODEL)
    return folder


@pytest.fixture(scope="module")
def own_tasks_alone() -> Iterator[None]:
    """Leaves out lm-eval's own tasks, whose files take seconds to find each time."""
    made = TaskManager.__init__

    def make(manager: TaskManager, *args: Any, **named: Any) -> None:
        made(manager, *args, **{"include_defaults": False, **named})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskManager, "__init__", make)
        yield


@pytest.fixture(scope="module")
def place_with_run(place: Path, own_tasks_alone: None) -> Path:
    """The same with a run in ``results``."""
    options = ["--include_path", "examples/suite", "--log_samples", "--output_path", "results"]
    model = ["--model", "hf", "--model_args", f"pretrained={MODEL}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        call(["gilot", "run", *model, "--tasks", "gilot_minimal_pairs", *options])
    return place


def call(command: list[str]) -> None:
    program, *arguments = command
    if arguments[0] == "run" and "--limit" not in arguments:
        arguments += ["--limit", DOCUMENTS]
    if program == "gilot":
        assert cli.main(arguments) == cli.DONE, command
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [program, *arguments])
            lm_eval.__main__.cli_evaluate()


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_RUNS)
def test_blocks_about_runs_run(
    page: str, place_with_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow(page, place_with_run, tmp_path, monkeypatch)


@pytest.mark.parametrize("page", OTHERS)
def test_other_blocks_run(page: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(page, place, tmp_path, monkeypatch)


def follow(page: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "place"
    shutil.copytree(place, folder, symlinks=True)
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    for block in filter(lambda one: runs_here(page, one), blocks_of(page)):
        if block.language == "python":
            exec(compile(block.text, f"{page}, line {block.line}", "exec"), names)
        elif block.language == "bash":
            commands = commands_in(block.text, tmp_path)
            assert commands, f"{page}, line {block.line}: nothing is called"
            for command in commands:
                call(command)
        elif block.language in DATA:
            DATA[block.language](block.text)


def test_what_is_not_run_is_seen(tmp_path: Path) -> None:
    """Of the reader itself: bash reads the arguments, and other programs end it."""
    found = commands_in("name='a b'\ngilot show \\\n  \"$name\"  # said\nlm_eval run > file\n", tmp_path)
    assert found == [["gilot", "show", "a b"], ["lm_eval", "run"]]
    with pytest.raises(Exception, match="127"):
        commands_in("rm -r results", tmp_path)
