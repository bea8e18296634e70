"""Attribution methods: numbers that say how much the absence of a unit matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gilot_plugin.attribution.distance.flows import Move
    from gilot_plugin.attribution.distance.pair import OutcomePair
    from gilot_plugin.attribution.prediction.answers import AnswerReader
    from gilot_plugin.attribution.types import Prompt, Unit
    from gilot_plugin.backends.protocol import Backend


class Interval(NamedTuple):
    """Numbers between which a quantity lies for certain.

    Attributes:
        lower: Nothing below it is possible.
        upper: Nothing above it is possible.
    """

    lower: float
    upper: float


class Measurement(NamedTuple):
    """What a distance says of one unit.

    Attributes:
        score: The unit's attribution.
        moves: Transports between different outcomes, largest first, if the distance knows any.
        gap: Width of the certified interval around the solver's value, 0 where it is exact.
        interval: Holds the value over all outcomes, those outside the support included; None where the score
            covers them all.
        outside_support: Mass that the score does not cover.
        support_size: Outcomes that it covers.
        left_over: Transport problems that a first solver left to the exact one.
    """

    score: float
    moves: tuple[Move, ...] = ()
    gap: float = 0.0
    interval: Interval | None = None
    outside_support: float = 0.0
    support_size: int = 0
    left_over: int = 0


@dataclass(frozen=True, slots=True)
class Distance:
    """A method that compares the outcome distributions with and without a unit.

    Attributes:
        name: Value in the setting ``methods`` and key in the scores.
        summary: One line for ``gilot methods``.
        measure: The distance; called in a worker thread, once a step.
        transports: Whether it reads ``pair.transport``; solvers that take many problems at once then do.
        needs_answer: Whether it reads ``pair.answer_drop``, for which the model's answer is scored.
    """

    name: str
    summary: str
    measure: Callable[[OutcomePair], Measurement]
    transports: bool = False
    needs_answer: bool = False


def _refuses_none(backend: Backend) -> None:
    """All models will do."""


@dataclass(frozen=True, slots=True)
class PromptMethod:
    """A method that looks at the model, the prompt and the answer, e.g. one of another library.

    Attributes:
        name: Value in the setting ``methods`` and key in the scores.
        summary: One line for ``gilot methods``.
        score: Gives one number a unit; called in the main thread after the distances.
        refuses: Why the method cannot explain a model, in words, or None: asked before anything is scored.
        unavailable: Why it cannot be used here at all, e.g. the package that is missing; None where it can.
    """

    name: str
    summary: str
    score: Callable[[MethodContext], Sequence[float]]
    refuses: Callable[[Backend], str | None] = _refuses_none
    unavailable: str | None = None


AttributionMethod = Distance | PromptMethod


@dataclass(frozen=True, eq=False)
class MethodContext:
    """What a :class:`PromptMethod` is given.

    Attributes:
        backend: The model.
        prompt: The prompt as fed.
        units: The units to score.
        make_reader: Finds out what the model answers, see :attr:`reader`.
        seed: For methods that draw random numbers.
    """

    backend: Backend
    prompt: Prompt
    units: tuple[Unit, ...]
    make_reader: Callable[[], AnswerReader]
    seed: int = 0

    @cached_property
    def reader(self) -> AnswerReader:
        """What the model answers to the full prompt, and how likely that is without some of the units.

        Where nothing else asked for it, the model's greedy continuation is searched at the first use.
        """
        return self.make_reader()
