"""Built-in plugin: which samples are explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gilot_plugin.harness.choosing.samples import Choice, Sample
from gilot_plugin.harness.choosing.selecting import SelectionContext, SelectionStrategy, choose
from gilot_plugin.harness.choosing.strategies import STRATEGIES
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.settings.selection import CountOptions, Options

if TYPE_CHECKING:
    from gilot_plugin.harness.run import EvaluationRun

#: What a strategy of another package is made of, and what it chooses.
__all__ = ["Choice", "CountOptions", "Options", "Sample", "SelectionContext", "SelectionStrategy"]


@hookimpl
def gilot_selection_strategies() -> tuple[SelectionStrategy, ...]:
    """The strategies that come with the package."""
    return STRATEGIES


@hookimpl
def gilot_select_samples(run: EvaluationRun, task: str, samples: Sequence[Sample]) -> Sequence[Choice]:
    """Choose by the settings of the task, or of the first task of several."""
    config = run.tasks[samples[0].identity.task if samples else task].config
    return choose(config.select, samples, SelectionContext(run, config.seed))
