"""Evaluations of lm-eval alone, as commands find them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import pytest
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from tests.harness.evaluations import SUITE


def evaluate_plainly(
    model_args: Mapping[str, Any],
    folder: Path,
    tasks: list[str],
    *,
    model: str = "hf",
    suite: Path = SUITE,
    **arguments: Any,
) -> Any:
    """What ``lm_eval run --log_samples`` does, without this package."""
    tracker = EvaluationTracker(output_path=str(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)
        results = lm_eval.evaluator.simple_evaluate(
            model=model,
            model_args=dict(model_args),
            tasks=tasks,
            device="cpu",
            batch_size=4,
            bootstrap_iters=0,
            evaluation_tracker=tracker,
            task_manager=TaskManager(include_path=str(suite), include_defaults=False),
            **arguments,
        )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)
    return results
