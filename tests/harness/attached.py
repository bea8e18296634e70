"""Processes that attach for good, by an import or by the name of the model."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import lm_eval.evaluator
from lm_eval.api.registry import model_registry
from lm_eval.loggers import EvaluationTracker
from lm_eval.utils import handle_non_serializable

from tests.harness.evaluations import ANSWERS, ENDINGS, essence, evaluate

#: Cheap settings, as the environment has them.
ARGUMENTS = "num_beams=2,max_new_tokens=2,num_threads=1,units=segment,methods=l2"


def declared() -> EntryPoint:
    """The model that this package declares to lm-eval."""
    (found,) = entry_points(group="lm_eval.models", name="gilot")
    return found


def evaluate_plainly(model: str, model_args: Any, folder: Path, out: Path) -> None:
    """What ``lm_eval run`` does, with what it returned in a file."""
    lm_eval.evaluator.add_env_info = lambda results: None
    tracker = EvaluationTracker(output_path=str(folder))
    results = evaluate(
        model,
        [ANSWERS, ENDINGS],
        model_args=model_args,
        device="cpu",
        batch_size=2,
        evaluation_tracker=tracker,
    )
    compared = {**results, "config": {**results["config"], "model": "", "model_args": ""}}
    explained = [row["doc_id"] for row in results["samples"]["answers"] if "gilot" in row]
    out.write_text(json.dumps({"essence": essence(compared), "explained": explained}))
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    json.dumps(results, default=handle_non_serializable)


def evaluate_after_import(model_args: Any, folder: Path, out: Path) -> None:
    """The module is imported, as ``--plugins`` of lm-eval 0.4.14 does it."""
    os.environ["GILOT_ARGS"] = f"{ARGUMENTS},select.n=2"
    import gilot_plugin.lm_eval_plugin  # noqa: F401 - the import attaches

    evaluate_plainly("hf", model_args, folder, out)


def evaluate_by_name(model_args: Any, folder: Path, out: Path) -> None:
    """The entry point is registered, as lm-eval 0.4.14 does it."""
    if "gilot" not in model_registry:
        model_registry.register("gilot", target=declared())
    evaluate_plainly("gilot", model_args, folder, out)


def exit_with(
    error: str, function: Callable[..., None], arguments: tuple[Any, ...], found: Synchronized[int]
) -> None:
    """Whether a function is refused with a message that holds the text."""
    try:
        function(*arguments)
    except Exception as refusal:
        found.value = int(error in str(refusal))
