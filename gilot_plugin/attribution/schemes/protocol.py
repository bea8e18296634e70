"""What a scheme is, what it is given, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

from gilot_plugin.attribution.methods import CoalitionValues, OutcomeMethod
from gilot_plugin.attribution.types import Absent, Interaction, Unit

_ReturnT = TypeVar("_ReturnT")

#: What asks for coalitions, is told what they are worth, and returns something in the end.
SchemeAsking: TypeAlias = Generator[Sequence[Absent], CoalitionValues, _ReturnT]

#: For each measure, by its name, one number a unit of the game.
Scores = Mapping[str, tuple[float, ...]]


class Interrupted(Exception):  # noqa: N818  # nothing went wrong
    """No more coalitions are read; raised where a scheme asks. It may return what it knows so far."""


@dataclass(frozen=True, slots=True)
class SchemeResult:
    """What a scheme says of the units of a game.

    Attributes:
        scores: For each measure, one number a unit.
        intervals: For each measure and unit, where the score lies as far as the coalitions tell; empty for
            schemes that estimate nothing.
        interactions: The strongest pairs of units, strongest first.
        tied: Groups of units, by their numbers, whose order the coalitions do not settle.
        coalitions: Coalitions that the scheme asked for, each once.
        left_out: How many of them had no finite value and count nowhere.
        lds: For each measure, Spearman's rank correlation between what scores predict for coalitions that
            they were not estimated from and what those are worth.
        held_out: How many coalitions that was found on.
        interrupted: Whether it ended before it was done.
    """

    scores: Scores
    intervals: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    interactions: tuple[Interaction, ...] = ()
    tied: tuple[tuple[int, ...], ...] = ()
    coalitions: int = 0
    left_out: int = 0
    lds: Mapping[str, float] = field(default_factory=dict)
    held_out: int = 0
    interrupted: bool = False


class UnitsGame(Protocol):
    """What a scheme knows of a game, :class:`gilot_plugin.attribution.game.Game`."""

    @property
    def units(self) -> tuple[Unit, ...]:
        """The units."""
        ...

    @property
    def measures(self) -> tuple[OutcomeMethod, ...]:
        """What is measured of each coalition."""
        ...

    def cost(self, absent: Absent) -> int:
        """About how many tokens the model will read for a coalition."""
        ...


class Scheme(Protocol):
    """Scores the units of a game.

    It asks for coalitions by ``values = yield coalitions`` as often as it likes, so what it asks for next may
    depend on what it has heard; several prompts that are explained at once share the batches. A value that
    the model gave no finite number for is NaN. A scheme that compares each unit with the end of the prompt is
    nothing but

    >>> def without_the_rest(game):
    ...     values = yield [game.units[:place] for place in range(len(game.units))]
    ...     return SchemeResult({one.name: tuple(values.means(one.name)) for one in game.measures})
    """

    def __call__(self, game: UnitsGame, /) -> SchemeAsking[SchemeResult]:
        """Ask, and return the scores.

        Args:
            game: With units, and with one measure at least.
        """
        ...


@dataclass(frozen=True, slots=True)
class SchemeOptions:
    """What the settings say to a scheme.

    Attributes:
        coalitions: Coalitions that it may read of one prompt; None leaves it to the scheme.
        token_budget: Tokens that the model may read for them; None for no limit of its own.
        seed: For whatever is drawn.
    """

    coalitions: int | None = None
    token_budget: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SchemeOffer:
    """A scheme that the settings can name.

    Attributes:
        name: Value of the setting ``scheme``.
        summary: One line for ``gilot methods``.
        make: The scheme under some options.
        budgeted: Whether the settings ``coalitions`` and ``token_budget`` say how much it reads.
    """

    name: str
    summary: str
    make: Callable[[SchemeOptions], Scheme]
    budgeted: bool = True
