"""Evaluations in processes of their own, which are killed."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import lm_eval.evaluator
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM

from gilot_plugin.harness.attach import attach
from tests.harness.evaluations import ANSWERS, CHEAP, ENDINGS, evaluate

#: Calls of the system that change what lies on the disk.
_CALLS = ("write", "fsync", "ftruncate", "replace", "rename", "unlink")


def evaluate_and_save(model_dir: Path, folder: Path, resume: bool) -> None:
    """An evaluation with attributions as ``gilot run`` does it, up to lm-eval's last file."""
    lm_eval.evaluator.add_env_info = lambda results: None
    lm = HFLM(pretrained=str(model_dir), device="cpu", batch_size=2)
    tracker = EvaluationTracker(output_path=str(folder))
    with attach({**CHEAP, **({"resume": folder} if resume else {})}):
        results = evaluate(lm, [ANSWERS, ENDINGS], evaluation_tracker=tracker, model_args="pretrained=tiny/llama")
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for task, rows in samples.items():
            tracker.save_results_samples(task_name=task, samples=rows)


def kill_at_call(model_dir: Path, folder: Path, last: int | None, counted: Synchronized[int]) -> None:
    """The same, but the process is killed before its ``last``-th change on the disk, or halfway through it."""
    counted.value = 0

    def watch(name: str) -> Callable[..., Any]:
        call = getattr(os, name)

        def watched(*args: Any, **kwargs: Any) -> Any:
            if name == "write" and not stat.S_ISREG(os.fstat(args[0]).st_mode):
                return call(*args, **kwargs)
            if counted.value == last:
                if name == "write":
                    call(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            counted.value += 1
            return call(*args, **kwargs)

        return watched

    for name in _CALLS:
        setattr(os, name, watch(name))
    evaluate_and_save(model_dir, folder, resume=False)
