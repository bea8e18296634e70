"""After scoring: choose samples, explain them, keep the records."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from gilot_plugin.errors import ConfigError, GilotError
from gilot_plugin.harness.manifest import manifest_of
from gilot_plugin.harness.run import EvaluationRun, Selection
from gilot_plugin.harness.samples import samples_of_task
from gilot_plugin.plugins import manager

_LOGGER = logging.getLogger(__name__)


def explain_results(run: EvaluationRun, results: dict[str, Any]) -> bool:
    """Explain the chosen samples of all tasks and add each record to its samples under the key ``gilot``.

    Neither Ctrl-C nor an error in here stops lm-eval: the scores are there already and are about to be
    written, and so is every record that was finished. Random states are left as they were.

    Args:
        run: The run, whose requests were recorded.
        results: What lm-eval's ``evaluate`` returned; its samples get the extra key.

    Returns:
        Whether every chosen sample has its record.
    """
    hook = manager().hook
    try:
        with _undisturbed():
            _explain_chosen(run, results.get("samples") or {})
        run.status = "complete"
    except (KeyboardInterrupt, Exception) as error:
        cause = "interrupted" if isinstance(error, KeyboardInterrupt) else f"stopped by {error!r}"
        _LOGGER.error(
            "%s: %d of %d chosen samples are explained; lm-eval goes on to write its results",
            cause,
            len(run.records),
            sum(len(selection.choices) for selection in run.selections.values()),
            exc_info=not isinstance(error, (KeyboardInterrupt, GilotError)),
        )
    try:
        hook.gilot_run_finished(run=run, manifest=manifest_of(run, run.status))
    except Exception:
        run.status = "interrupted"
        _LOGGER.exception("the run could not be finished; lm-eval goes on to write its results")
    torch.cuda.empty_cache()
    return run.status == "complete"


def _explain_chosen(run: EvaluationRun, logged: Mapping[str, list[dict[str, Any]]]) -> None:
    hook = manager().hook
    for task, rows in logged.items():
        run.selections[task] = _select(run, task, rows)
    chosen = [choice.sample for selection in run.selections.values() for choice in selection.choices]
    with run.progress.shown(len(chosen)):
        for place, sample in enumerate(chosen, start=1):
            run.upcoming = chosen[place:]
            record = hook.gilot_attribute_sample(run=run, sample=sample)
            hook.gilot_write_record(run=run, record=record)
            for row in sample.rows:
                row["gilot"] = record
            run.progress.sample_finished()


def _select(run: EvaluationRun, task: str, rows: list[dict[str, Any]]) -> Selection:
    samples = samples_of_task(task, run.tasks[task].output_type, rows)
    try:
        choices = manager().hook.gilot_select_samples(run=run, task=task, samples=samples)
    except Exception as error:  # of a strategy of another package, too
        reason = str(error) if isinstance(error, ConfigError) else repr(error)
        _LOGGER.error("task %s: no sample is explained: %s", task, reason)
        return Selection(len(samples), error=reason)
    return Selection(len(samples), tuple(choices))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Give whatever runs after the block the random numbers that it would have had without it."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - lm-eval seeds the global one
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002
