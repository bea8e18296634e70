"""A run of a tiny model, and the command on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lm_eval.evaluator
import pytest
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from gilot_plugin import cli
from gilot_plugin.commands import faithfulness_run
from gilot_plugin.harness.entry import again
from gilot_plugin.harness.entry.attach import attach
from tests.faithfulness.samples import CountingEmbedder
from tests.harness.conftest import build_model, model_dir, tokenizer
from tests.harness.evaluations import ANSWERS, ENDINGS, evaluate

__all__ = ["build_model", "model_dir", "tokenizer"]

#: Cheap settings of the attributions.
SETTINGS = {"num_beams": 2, "max_new_tokens": 2, "num_threads": 1, "units": "word", "methods": ["ot", "l2"]}


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Gilot = Callable[..., Ended]


@pytest.fixture(scope="session")
def run_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of an evaluation of two tasks, whose documents were all explained; not to be changed."""
    folder = tmp_path_factory.mktemp("run")
    tracker = EvaluationTracker(output_path=str(folder))
    with pytest.MonkeyPatch.context() as patch, attach({**SETTINGS, "output_path": folder}):
        patch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)
        results = evaluate(
            "hf",
            [ANSWERS, ENDINGS],
            model_args=f"pretrained={model_dir}",
            device="cpu",
            batch_size=2,
            evaluation_tracker=tracker,
        )
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
    return folder


@pytest.fixture
def gilot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gilot:
    """Runs the command in this process, with an embedder that loads no model."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(faithfulness_run, "SentenceEmbedder", lambda name, device=None: _named(name))

    def run(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as end:  # of argparse
            code = end.code if isinstance(end.code, int) else 1
        return Ended(code, *capsys.readouterr())

    return run


def _named(name: str) -> Any:
    embedder = CountingEmbedder()
    embedder.name = name
    return embedder


@pytest.fixture
def faithfulness(gilot: Gilot) -> Callable[..., Ended]:
    """``gilot faithfulness`` with cheap options, which others override."""
    cheap: Sequence[str] = ("--device", "cpu", "--max_answer_tokens", "4", "--random_rankings", "2")
    return lambda *arguments: gilot("faithfulness", *cheap, *arguments)


@pytest.fixture
def few_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spares lm-eval its own tasks, which take seconds to index."""
    monkeypatch.setattr(
        again, "TaskManager", lambda **given: TaskManager(**{**given, "include_defaults": False})
    )
