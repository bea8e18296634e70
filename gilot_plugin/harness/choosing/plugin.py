"""Built-in plugin: which samples are explained."""

from __future__ import annotations

from collections.abc import Sequence

from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.harness.choosing.context import RunContext
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.strategies.combined import choose


class Chooser:
    """Chooses for one run.

    Args:
        run: The run.
    """

    def __init__(self, run: EvaluationRun) -> None:
        self._run = run

    @hookimpl(trylast=True)
    def gilot_select_samples(self, task: str, samples: Sequence[Sample]) -> Sequence[ChosenSample]:
        """Choose by the settings of the task, or of the first task of several."""
        config = self._run.tasks[samples[0].identity.task if samples else task].config
        return choose(config.select, samples, RunContext(self._run, config.seed))
