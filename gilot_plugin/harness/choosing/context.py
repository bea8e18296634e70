"""What strategies may ask about a run, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gilot_plugin.extension.runs import RunView
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.likelihoods import choice_scores, entropy
from gilot_plugin.harness.choosing.uncertainty import generation_entropies
from gilot_plugin.harness.state.run import EvaluationRun


@dataclass(frozen=True)
class RunContext:
    """A :class:`~gilot_plugin.extension.strategies.SelectionContext` of a run.

    Attributes:
        evaluation: The run.
        seed: For whatever is random.
    """

    evaluation: EvaluationRun
    seed: int

    @property
    def run(self) -> RunView:
        """The run, as plugins see it."""
        return self.evaluation.view

    def choice_scores(self, sample: Sample) -> list[float]:
        """By what the choices of a sample are compared, in nats."""
        return choice_scores(self.evaluation.tasks[sample.identity.task], sample)

    def outcome_entropies(self, samples: Sequence[Sample]) -> list[float | None]:
        """Entropy of what the model might say to each sample, in nats."""
        found: dict[int, float | None] = {}
        asked = []
        for place, sample in enumerate(samples):
            task = self.evaluation.tasks[sample.identity.task]
            if task.output_type == "multiple_choice" and task.config.target != "generation":
                found[place] = entropy(choice_scores(task, sample))
            else:
                asked.append(place)
        answers = generation_entropies(self.evaluation, [samples[place] for place in asked])
        found.update(zip(asked, answers, strict=True))
        return [found[place] for place in range(len(samples))]
