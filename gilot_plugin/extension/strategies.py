"""Ways to choose samples: what one is made of, and what it can ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from gilot_plugin.extension.runs import RunView
    from gilot_plugin.extension.samples import ChosenSample, Sample


class Options(BaseModel):
    """Base of the options of a strategy; a wrong or unknown option is refused with its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CountOptions(Options):
    """Options of strategies that take a number of samples, None for all."""

    n: int | None = Field(10, ge=1, strict=True)


class SelectionContext(Protocol):
    """What strategies may ask about the evaluation.

    Attributes:
        run: The evaluation.
        seed: For whatever is random.
    """

    @property
    def run(self) -> RunView: ...  # noqa: D102

    @property
    def seed(self) -> int: ...  # noqa: D102

    def choice_scores(self, sample: Sample) -> list[float]:
        """By what the choices of a sample are compared, in nats, as the harness scored them.

        Raises:
            ValueError: It has no choices.
        """
        ...

    def outcome_entropies(self, samples: Sequence[Sample]) -> list[float | None]:
        """Entropy of what the model might say to each sample, in nats.

        For multiple choice it is that between the choices, as the harness scored them. For others the model
        reads each prompt once more, and its hypotheses. None where the sample cannot be explained.
        """
        ...


@dataclass(frozen=True)
class SelectionStrategy:
    """A way to choose samples.

    Attributes:
        name: Value of ``select.strategy``.
        summary: One line for ``gilot methods``.
        options: Model of the other keys of ``select``.
        choose: ``(samples, options, context) -> chosen samples``; samples in document order, of one task
            unless ``select.over`` says otherwise.
    """

    name: str
    summary: str
    options: type[Options]
    choose: Callable[[Sequence[Sample], Any, SelectionContext], Sequence[ChosenSample]]
