"""Attribution methods: numbers that say how much the absence of a unit matters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from gilot_plugin.attribution.distance.flows import Move
    from gilot_plugin.attribution.distance.solved import SolvedProblem
    from gilot_plugin.attribution.execution import Execution
    from gilot_plugin.attribution.prediction.answers import Answer
    from gilot_plugin.attribution.types import Absent, Flips, Prompt, Unit
    from gilot_plugin.backends.scorer import Scorer

#: Begins the names of signed distances.
SIGNED_PREFIX = "signed_"


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
        interval: Holds the value over all outcomes, those outside the support included, without its sign;
            None where the score covers them all.
        outside_support: Mass that the score does not cover.
        support_size: Outcomes that it covers.
        left_over: Transport problems that a first solver left to the exact one.
        positions: The score at every position that was compared; ``score`` is their mean, or their sum
            (:attr:`OutcomeMethod.summed`). Empty where only one was measured.
    """

    score: float
    moves: tuple[Move, ...] = ()
    gap: float = 0.0
    interval: Interval | None = None
    outside_support: float = 0.0
    support_size: int = 0
    left_over: int = 0
    positions: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class OutcomeMethod:
    """A method that compares what the model would say with and without a unit.

    Attributes:
        name: Value in the setting ``methods`` and key in the scores.
        summary: One line for ``gilot methods``.
        needs_answer: Whether the model's answer is scored for it.
        needs_odds: Whether it is of interest how likely the answer's tokens are against everything else.
        summed: Whether its score is the sum over the positions of the answer rather than their mean.
    """

    needs_answer: ClassVar[bool] = False
    needs_odds: ClassVar[bool] = False
    summed: ClassVar[bool] = False

    name: str
    summary: str

    @property
    def transports(self) -> bool:
        """Whether transport problems are solved for it."""
        return False


@dataclass(frozen=True, slots=True)
class Distance(OutcomeMethod):
    """A function of the whole distributions, computed where they are.

    Attributes:
        compute: From log-probabilities with the unit, ``[steps, outcomes]``, and without, ``[rows, steps,
            outcomes]``, the numbers ``[rows, steps]``. The tensors are float64 (float32 on devices without
            it) on the model's device and not to be changed; each step is by itself, and a call may have only
            some of the rows and steps. What waits for the device (``item``, ``nonzero``) slows it down.
    """

    compute: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class TransportDistance(OutcomeMethod):
    """A function of the solution of the transport problem.

    Attributes:
        measure: What it says of one unit and step; called in a worker thread.
    """

    measure: Callable[[SolvedProblem], Measurement]

    @property
    def transports(self) -> bool:
        """All of them do."""
        return True


@dataclass(frozen=True, slots=True)
class AnswerDrop(OutcomeMethod):
    """By how much the absence of the unit lowers the log-probability of the model's own answer, in nats."""

    needs_answer: ClassVar[bool] = True
    summed: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class OddsDrop(OutcomeMethod):
    """By how much the absence of the unit lowers the log-odds of what the model said, in nats.

    The odds are those of the answer's token against all other tokens together, at each position of the
    answer; of the preferred choice against all others, where there are choices.
    """

    needs_answer: ClassVar[bool] = True
    needs_odds: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class SignedDistance(OutcomeMethod):
    """A distance at each position with the sign of the change in the log-odds of what the model said there.

    Positive: the unit's absence lowers them, so the unit speaks for what the model said.

    Attributes:
        distance: What has no sign.
    """

    needs_answer: ClassVar[bool] = True
    needs_odds: ClassVar[bool] = True

    distance: Distance | TransportDistance

    @property
    def transports(self) -> bool:
        """Whether the distance does."""
        return self.distance.transports


def signed(distance: Distance | TransportDistance) -> SignedDistance:
    """The same with a direction; costs nothing but how likely the answer is."""
    return SignedDistance(
        f"{SIGNED_PREFIX}{distance.name}",
        f"{distance.name} with the sign of the direction: positive where the unit speaks for what was said",
        distance,
    )


def _refuses_none(backend: Scorer) -> None:
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
        needs_answer: Whether it asks how likely the model's answer is without single units, which is then
            read along with whatever else is read without them.
    """

    name: str
    summary: str
    score: Callable[[MethodContext], Sequence[float]]
    refuses: Callable[[Scorer], str | None] = _refuses_none
    unavailable: str | None = None
    needs_answer: bool = False


AttributionMethod = OutcomeMethod | PromptMethod


class CoalitionValues(Protocol):
    """What coalitions are worth."""

    def means(self, measure: str) -> list[float]:
        """Mean over the positions, one a coalition; the sum for measures that are one."""
        ...


class Answering(Protocol):
    """What is explained, as far as methods need to know it."""

    @property
    def answer_measure(self) -> OutcomeMethod:
        """What measures how likely the answer is."""
        ...


class PromptGame(Protocol):
    """What methods may ask of the game of a prompt, :class:`gilot_plugin.attribution.game.Game`."""

    @property
    def prompt(self) -> Prompt:
        """The prompt as fed."""
        ...

    @property
    def units(self) -> tuple[Unit, ...]:
        """Its units."""
        ...

    @property
    def execution(self) -> Execution:
        """How the work is carried out."""
        ...

    @property
    def target(self) -> Answering:
        """What is explained."""
        ...

    @property
    def answer(self) -> Answer:
        """What the model answers to the full prompt."""
        ...

    @property
    def flips(self) -> Flips | None:
        """What comes out when the model answers anew without each unit; None where nobody can say."""
        ...

    def values(
        self,
        absent: Sequence[Absent] | NDArray[np.bool_] | torch.Tensor,
        measures: Sequence[OutcomeMethod] | None = None,
    ) -> CoalitionValues:
        """What coalitions are worth; those that are not known yet are read in full batches."""
        ...


@dataclass(frozen=True, eq=False)
class MethodContext:
    """What a :class:`PromptMethod` is given.

    Attributes:
        backend: The model.
        game: The prompt, its units, the model's answer, and what coalitions of absent units are worth.
        seed: For methods that draw random numbers.
    """

    backend: Scorer
    game: PromptGame
    seed: int = 0

    @property
    def prompt(self) -> Prompt:
        """The prompt as fed."""
        return self.game.prompt

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units to score."""
        return self.game.units
