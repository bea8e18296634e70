"""Evaluations in processes of their own: some are killed, some work together."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import BaseContext
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import torch.distributed
from accelerate import Accelerator
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.huggingface import HFLM

from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins.manager import manager
from tests.harness.evaluations import ANSWERS, CHEAP, ENDINGS, evaluate, tracked

#: Calls of the system that change what lies on the disk.
_CALLS = ("write", "fsync", "ftruncate", "replace", "rename", "unlink")


def evaluate_and_save(
    model_dir: Path, folder: Path, settings: Mapping[str, Any], make_lm: Callable[..., HFLM] = HFLM
) -> None:
    """An evaluation with attributions as ``gilot run`` does it, up to lm-eval's last file."""
    with attach({**CHEAP, **settings}):
        evaluate_and_save_plainly(model_dir, folder, make_lm)


def evaluate_and_save_plainly(model_dir: Path, folder: Path, make_lm: Callable[..., HFLM] = HFLM) -> None:
    """What ``lm_eval run`` does up to its last file."""
    lm_eval.evaluator.add_env_info = lambda results: None
    lm = make_lm(pretrained=str(model_dir), device="cpu", batch_size=2)
    tracker = EvaluationTracker(output_path=str(folder))
    results = evaluate(lm, [ANSWERS, ENDINGS], evaluation_tracker=tracker, model_args="pretrained=tiny/llama")
    if results is None:
        return
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task_name=task, samples=rows)


def kill_at_call(model_dir: Path, folder: Path, last: int | None, counted: Synchronized[int]) -> None:
    """The same, but the process is killed at its ``last``-th change on the disk, halfway through a write."""
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
    evaluate_and_save(model_dir, folder, {})


class _Forking:
    """Lets attribution begin again and again, each time in a process that gets signals while it explains.

    Forked processes have all that was computed before, so that twenty of them take no longer than one.
    """

    def __init__(self, folder: Path, snapshots: Path, signals: Sequence[Sequence[tuple[float, int]]]) -> None:
        self._folder, self._snapshots, self._signals = folder, snapshots, signals

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[PromptMethod, ...]:
        def score(context: Any) -> list[float]:
            time.sleep(0.03)
            return [1.0 for _ in context.units]

        return (PromptMethod("slow", "", score),)

    @hookimpl
    def gilot_select_samples(self) -> None:
        signals, self._signals = self._signals, ()
        for number, sent in enumerate(signals):
            child = os.fork()
            if child == 0:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                return
            for seconds, name in sent:
                time.sleep(seconds)
                os.kill(child, name)
            _, status = os.waitpid(child, 0)
            shutil.copytree(self._folder, self._snapshots / f"{number}_{os.waitstatus_to_exitcode(status)}")
        if signals:
            os._exit(0)


def evaluate_under_signals(
    model_dir: Path, folder: Path, snapshots: Path, signals: Sequence[Sequence[tuple[float, int]]]
) -> None:
    """The same; of each process that got signals, the folder is copied as it was left, with its exit code."""
    manager().register(_Forking(folder, snapshots, signals))
    evaluate_and_save(model_dir, folder, {"methods": ["l2", "slow"]})


class _Waiting:
    """Stands still after the first record."""

    def __init__(self, stands: Event) -> None:
        self._stands = stands

    @hookimpl
    def gilot_record_written(self) -> None:
        self._stands.set()
        time.sleep(60)


def evaluate_and_wait(model_dir: Path, folder: Path, stands: Event) -> None:
    """Evaluates one task and stands still after the first record."""
    lm_eval.evaluator.add_env_info = lambda results: None
    manager().register(_Waiting(stands))
    with attach(CHEAP):
        tracked(HFLM(pretrained=str(model_dir), device="cpu", batch_size=2), folder)


class RankedLM(HFLM):
    """lm-eval's model object for data parallelism on a CPU, which it has itself for several GPUs only."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.accelerator = Accelerator()
        assert self.accelerator.num_processes == int(os.environ["WORLD_SIZE"])
        self._rank, self._world_size = self.accelerator.process_index, self.accelerator.num_processes


class _Trouble:
    """Offers a method that gets one process into trouble at its second sample."""

    def __init__(self, trouble: Callable[[], None] | None) -> None:
        self._trouble = trouble
        self._samples = 0

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[PromptMethod, ...]:
        def score(context: Any) -> list[float]:
            self._samples += 1
            if self._samples == 2 and self._trouble is not None:
                self._trouble()
            return [1.0 for _ in context.units]

        return (PromptMethod("trouble", "", score),)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _die() -> None:
    os._exit(7)


TROUBLES: Mapping[str, Callable[[], None]] = {"interrupt": _interrupt, "die": _die}


def evaluate_as_rank(
    rank: int,
    size: int,
    port: int,
    model_dir: Path,
    folder: Path,
    settings: Mapping[str, Any],
    trouble: str | None,
    make_lm: Callable[..., HFLM],
) -> None:
    """One of several processes that evaluate together, started as ``accelerate launch --cpu`` does it.

    ``trouble`` is what happens to the last of them.
    """
    os.environ |= {
        **{"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
        **{"WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size), "ACCELERATE_USE_CPU": "true"},
    }
    happens = TROUBLES[trouble] if trouble is not None and rank == size - 1 else None
    manager().register(_Trouble(happens))
    evaluate_and_save(model_dir, folder, settings, make_lm)
    if trouble is None:
        torch.distributed.destroy_process_group()


def evaluate_together(
    context: BaseContext,
    size: int,
    model_dir: Path,
    folder: Path,
    settings: Mapping[str, Any],
    port: int,
    trouble: str | None = None,
    make_lm: Callable[..., HFLM] = RankedLM,
) -> list[int | None]:
    """Evaluate in several processes; returns their exit codes."""
    processes = [
        context.Process(  # type: ignore[attr-defined]
            target=evaluate_as_rank, args=(rank, size, port, model_dir, folder, settings, trouble, make_lm)
        )
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(50)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes
