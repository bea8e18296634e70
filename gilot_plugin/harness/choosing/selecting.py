"""How samples are chosen: what a strategy is, and what it can ask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gilot_plugin.harness.asking.likelihoods import choice_scores, entropy
from gilot_plugin.harness.choosing.samples import Choice, Sample
from gilot_plugin.plugins import selection_strategies
from gilot_plugin.settings.selection import Options, options_of

if TYPE_CHECKING:
    from gilot_plugin.harness.run import EvaluationRun, TaskInfo


@dataclass(frozen=True)
class SelectionContext:
    """What strategies may ask about the run.

    Attributes:
        run: The run.
        seed: For whatever is random.
    """

    run: EvaluationRun
    seed: int

    def task_of(self, sample: Sample) -> TaskInfo:
        """The sample's task."""
        return self.run.tasks[sample.identity.task]

    def outcome_entropies(self, samples: Sequence[Sample]) -> list[float | None]:
        """Entropy of what the model might say to each sample, in nats.

        For multiple choice it is that between the choices, as the harness scored them. For others the model
        reads each prompt once more, and its hypotheses. None where the sample cannot be explained.
        """
        from gilot_plugin.harness.choosing.uncertainty import (
            generation_entropies,  # it asks the model, this module does not
        )

        found: dict[int, float | None] = {}
        asked = []
        for place, sample in enumerate(samples):
            task = self.task_of(sample)
            if task.output_type == "multiple_choice" and task.config.target != "generation":
                found[place] = entropy(choice_scores(task, sample))
            else:
                asked.append(place)
        answers = generation_entropies(self.run, [samples[place] for place in asked])
        found.update(zip(asked, answers, strict=True))
        return [found[place] for place in range(len(samples))]


@dataclass(frozen=True)
class SelectionStrategy:
    """A way to choose samples.

    Attributes:
        name: Value of ``select.strategy``.
        summary: One line for ``gilot methods``.
        options: Model of the other keys of ``select``.
        choose: ``(samples, options, context) -> choices``; samples in document order, of one task unless
            ``select.over`` says otherwise.
    """

    name: str
    summary: str
    options: type[Options]
    choose: Callable[[Sequence[Sample], Any, SelectionContext], Sequence[Choice]]


def choose(
    selection: Mapping[str, Any], samples: Sequence[Sample], context: SelectionContext
) -> Sequence[Choice]:
    """Choose samples.

    Args:
        selection: As :func:`gilot_plugin.settings.selection.checked_selection` returns it.
        samples: In document order.
        context: What the strategy may ask.

    Returns:
        The chosen samples, each once.

    Raises:
        ConfigError: The samples are not what the strategy needs.
    """
    strategy = selection_strategies()[selection["strategy"]]
    return strategy.choose(samples, strategy.options.model_validate(options_of(selection)), context)
