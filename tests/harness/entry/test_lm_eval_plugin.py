"""lm-eval's own ways to load plugins: a module that is imported, a model that is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest
from lm_eval._cli.utils import key_val_to_dict

from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.harness.entry import model
from tests.harness.attached import (
    ARGUMENTS,
    declared,
    evaluate_after_import,
    evaluate_by_name,
    evaluate_plainly,
    exit_with,
)
from tests.harness.evaluations import SUITE, artifacts_in


def in_process(forked: BaseContext, function: Callable[..., None], *arguments: Any) -> None:
    process = forked.Process(target=function, args=arguments)  # type: ignore[attr-defined]
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, forked: BaseContext) -> list[str]:
    """What lm-eval returns without the plugin."""
    folder = tmp_path_factory.mktemp("plain")
    in_process(
        forked, evaluate_plainly, "hf", f"pretrained={model_dir}", folder / "output", folder / "results.json"
    )
    found: list[str] = json.loads((folder / "results.json").read_text())["essence"]
    return found


def assert_explained(tmp_path: Path, plain: list[str], count: int) -> None:
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["essence"] == plain
    assert found["explained"] == list(range(count))
    assert len(read_run(tmp_path / "output").records) == 2 * count
    assert validate_path(tmp_path / "output").problems == ()
    # Beside lm-eval's own samples, with its date.
    (folder,) = (tmp_path / "output").iterdir()
    for name in artifacts_in(folder):
        if name.endswith(".jsonl"):
            assert (folder / name.replace("attributions_", "samples_")).exists()


def test_import_attaches(tmp_path: Path, model_dir: Path, forked: BaseContext, plain: list[str]) -> None:
    in_process(
        forked,
        evaluate_after_import,
        f"pretrained={model_dir}",
        tmp_path / "output",
        tmp_path / "results.json",
    )
    assert_explained(tmp_path, plain, 2)


def own_arguments(settings: str) -> list[str]:
    return [f"gilot.{part}" for part in settings.split(",")]


def test_commas_in_a_list_are_part_of_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the model's arguments arrive: as one text, or as lm-eval's command line takes them apart."""
    given: list[Mapping[str, Any]] = []
    monkeypatch.setattr(model, "is_attached", lambda: False)
    monkeypatch.setattr(model, "attach_process", given.append)
    monkeypatch.setattr(model, "get_model", lambda name: FakeLM)
    text = "base=hf,pretrained=tiny,gilot.methods=[ot,kl],gilot.seed=3"
    made = [
        model.GilotLM.create_from_arg_string(text),
        model.GilotLM.create_from_arg_obj(key_val_to_dict(text)),
    ]
    assert given == [{"methods": ["ot", "kl"], "seed": 3}] * 2
    assert made == ["pretrained=tiny", {"pretrained": "tiny"}]


class FakeLM:
    """Gives back what it was made with."""

    @staticmethod
    def create_from_arg_string(arguments: str, config: Any = None) -> str:
        return arguments

    @staticmethod
    def create_from_arg_obj(arguments: dict[str, Any], config: Any = None) -> dict[str, Any]:
        return arguments


@pytest.mark.parametrize("as_text", [True, False])
def test_model_by_name(
    tmp_path: Path, model_dir: Path, forked: BaseContext, plain: list[str], as_text: bool
) -> None:
    parts = [f"pretrained={model_dir}", "base=hf", *own_arguments(f"{ARGUMENTS},select.n=3")]
    arguments: Any = ",".join(parts) if as_text else dict(part.split("=", 1) for part in parts)
    in_process(forked, evaluate_by_name, arguments, tmp_path / "output", tmp_path / "results.json")
    assert_explained(tmp_path, plain, 3)


def test_settings_file_of_the_model(
    tmp_path: Path, model_dir: Path, forked: BaseContext, plain: list[str]
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "\n".join(f"{part.replace('=', ': ')}" for part in ARGUMENTS.split(",")) + "\nselect: {n: 1}"
    )
    arguments = f"pretrained={model_dir},gilot={file}"
    in_process(forked, evaluate_by_name, arguments, tmp_path / "output", tmp_path / "results.json")
    assert_explained(tmp_path, plain, 1)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ("base=nothing", "base=nothing: "),
        ("base=gilot", "name the model class that is to be explained"),
        ("gilot.num_beams=many", "num_beams='many'"),
        ("gilot=/nowhere.yaml", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_loads(
    tmp_path: Path, forked: BaseContext, arguments: str, error: str
) -> None:
    told = forked.Value("i", 0)  # type: ignore[attr-defined]
    given = (f"pretrained=/no/model,{arguments}", tmp_path / "output", tmp_path / "results.json")
    in_process(forked, exit_with, error, evaluate_by_name, given, told)
    assert told.value == 1


def test_the_entry_point_is_declared() -> None:
    assert declared().load().__name__ == "GilotLM"


@pytest.mark.slow
def test_command_of_lm_eval_with_the_module(tmp_path: Path, model_dir: Path) -> None:
    """The real command line of lm-eval, in a process that imports the module first."""
    code = "import gilot_plugin.lm_eval_plugin\nfrom lm_eval.__main__ import cli_evaluate\ncli_evaluate()\n"
    command = [sys.executable, "-c", code, "run", "--model", "hf", "--device", "cpu", "--limit", "2"]
    command += ["--model_args", f"pretrained={model_dir}", "--tasks", "gilot_short_answers"]
    command += ["--include_path", str(SUITE), "--output_path", str(tmp_path / "output"), "--log_samples"]
    environment = {**os.environ, "GILOT_ARGS": ARGUMENTS}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert "|gilot_short_answers|" in done.stdout
    assert "GiLOT: 2 samples (2 ok)" in done.stderr
    assert len(read_run(tmp_path / "output").records) == 2
