"""What a scheme is."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from gilot_plugin.attribution.methods import CoalitionValues, OutcomeMethod
from gilot_plugin.attribution.types import Absent, Unit

_ReturnT = TypeVar("_ReturnT")

#: What asks for coalitions, is told what they are worth, and returns something in the end.
SchemeAsking: TypeAlias = Generator[Sequence[Absent], CoalitionValues, _ReturnT]

#: For each measure, by its name, one number a unit of the game.
Scores = Mapping[str, tuple[float, ...]]


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


class Scheme(Protocol):
    """Scores the units of a game.

    It asks for coalitions by ``values = yield coalitions`` as often as it likes, so what it asks for next may
    depend on what it has heard; several prompts that are explained at once share the batches. A scheme that
    compares each unit with the end of the prompt is nothing but

    >>> def without_the_rest(game):
    ...     values = yield [game.units[:place] for place in range(len(game.units))]
    ...     return {measure.name: tuple(values.means(measure.name)) for measure in game.measures}
    """

    def __call__(self, game: UnitsGame, /) -> SchemeAsking[Scores]:
        """Ask, and return the scores.

        Args:
            game: With units, and with one measure at least.
        """
        ...
