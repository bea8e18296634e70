"""Coalitions that a scheme has read, as arrays, and what it may still read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, compress

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.schemes.protocol import SchemeAsking, UnitsGame
from gilot_plugin.attribution.types import Absent, Unit
from gilot_plugin.errors import PromptError

Coalitions = NDArray[np.bool_]
Numbers = NDArray[np.float64]

#: Coalitions that are asked for at a time: enough for full batches, few enough that little is lost when
#: somebody interrupts.
_AT_ONCE = 64

#: Largest table of coalitions, in bytes.
_MOST_ENTRIES = 2**28

#: Coalitions whose cost tells what others will cost.
_TRIED = 8


class Budget:
    """What may still be read of a game.

    Args:
        game: The game.
        coalitions: Coalitions at most.
        tokens: Tokens at most, by the game's estimate; None for any number.
        whole: What it is a part of, from which what is spent is taken, too.
    """

    def __init__(
        self, game: UnitsGame, coalitions: int, tokens: int | None, whole: Budget | None = None
    ) -> None:
        self._game, self.coalitions, self.tokens, self._whole = game, coalitions, tokens, whole

    def part(self, share: float) -> Budget:
        """A share of it."""
        tokens = None if self.tokens is None else int(share * self.tokens)
        return Budget(self._game, int(share * self.coalitions), tokens, self)

    def affordable(self, absent: Sequence[Absent]) -> int:
        """How many of the coalitions, from the first, fit into what is left."""
        count = max(0, min(len(absent), self.coalitions))
        if self.tokens is None:
            return count
        left = self.tokens
        for place, one in enumerate(absent[:count]):
            left -= self._game.cost(one)
            if left < 0:
                return place
        return count

    def spend(self, absent: Sequence[Absent]) -> None:
        """These are read."""
        self.coalitions -= len(absent)
        if self.tokens is not None:
            self.tokens -= sum(map(self._game.cost, absent))
        if self._whole is not None:
            self._whole.spend(absent)


def coalitions_for(units: int, wanted: int | None) -> int:
    """How many coalitions to read of so many units; None leaves it to :func:`usual_coalitions`.

    Raises:
        PromptError: They would not fit into memory.
    """
    count = usual_coalitions(units) if wanted is None else wanted
    if units * count > _MOST_ENTRIES:
        raise PromptError(
            f"{count} coalitions of {units} units are too many for this scheme: make units coarser, set "
            "coalitions, or use scheme: auto, which looks at groups of units first"
        )
    return count


class Readings:
    """What was read of a game whose players are units, or groups of them.

    Args:
        game: The game.
        budget: What may be read.
        players: The players; None for each unit by itself.

    Attributes:
        players: As given.
        absent: ``[n, players]``, the coalitions of finite value, each once, in the order in which they came.
        values: ``[n, measures]``, what they are worth.
        weights: ``[n]``, what each counts in a regression.
        blocks: ``[n]``; coalitions with the same number were drawn together.
        asked: Coalitions that were read.
        left_out: Those of them that have no finite value.
        budget: As given.
    """

    def __init__(
        self, game: UnitsGame, budget: Budget, players: Sequence[tuple[Unit, ...]] | None = None
    ) -> None:
        self._game, self.budget = game, budget
        self.players = [(unit,) for unit in game.units] if players is None else list(players)
        self.absent: Coalitions = np.zeros((0, len(self.players)), dtype=bool)
        self.values: Numbers = np.zeros((0, len(game.measures)))
        self.weights: Numbers = np.zeros(0)
        self.blocks: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.asked = self.left_out = 0
        self._places: dict[bytes, int | None] = {}
        self._block = 0

    def read(
        self, rows: Coalitions, drawn_together: int = 1, weights: Numbers | float = 1.0
    ) -> SchemeAsking[bool]:
        """Read coalitions as far as the budget goes; what is known, or empty, is not read again.

        Args:
            rows: ``[n, players]``, true where a player is absent.
            drawn_together: So many neighbours make a block, which is read as a whole or not at all.
            weights: What each counts in a regression; 0 keeps it out.

        Returns:
            Whether the budget sufficed.
        """
        weights = np.broadcast_to(weights, len(rows))
        blocks = self._block + np.arange(len(rows)) // drawn_together
        self._block += -(-len(rows) // drawn_together)
        wanted: dict[bytes, int] = {}
        for place, row in enumerate(rows):
            key = _key(row)
            if row.any() and key not in self._places:
                wanted.setdefault(key, place)
        places = list(wanted.values())
        coalitions = [self._units(rows[place]) for place in places]
        count = self.budget.affordable(coalitions)
        while 0 < count < len(places) and blocks[places[count]] == blocks[places[count - 1]]:
            count -= 1
        for start in range(0, count, _AT_ONCE):
            some = slice(start, min(start + _AT_ONCE, count))
            values = yield coalitions[some]
            self.budget.spend(coalitions[some])
            found = np.array([values.means(measure.name) for measure in self._game.measures]).T
            chosen = places[some]
            self._keep(rows[chosen], found, weights[chosen], blocks[chosen])
        return count == len(places)

    def expected(self, generator: np.random.Generator) -> int:
        """About how many coalitions of half of the players the budget is enough for."""
        if self.budget.tokens is None:
            return self.budget.coalitions
        tried = generator.random((_TRIED, len(self.players))) < 0.5
        cost = sum(self._game.cost(self._units(row)) for row in tried) / _TRIED
        return min(self.budget.coalitions, int(self.budget.tokens / max(cost, 1.0)))

    def affords(self, rows: Coalitions) -> bool:
        """Whether the budget is enough for all of the coalitions."""
        return self.budget.affordable([self._units(row) for row in rows]) == len(rows)

    def known(self, row: Coalitions) -> Numbers | None:
        """``[measures]``, what a coalition is worth; None where it was not read or has no finite value."""
        if not row.any():
            return np.zeros(self.values.shape[1])
        place = self._places.get(_key(row))
        return None if place is None else self.values[place]

    def _units(self, row: Coalitions) -> Absent:
        return tuple(chain.from_iterable(compress(self.players, row.tolist())))

    def _keep(self, rows: Coalitions, values: Numbers, weights: Numbers, blocks: NDArray[np.int64]) -> None:
        finite: Coalitions = np.all(np.isfinite(values), axis=1)
        places = (len(self.values) + np.cumsum(finite) - 1).tolist()
        for row, kept, place in zip(rows, finite.tolist(), places, strict=True):
            self._places[_key(row)] = place if kept else None
        self.asked += len(rows)
        self.left_out += int((~finite).sum())
        self.absent = np.concatenate((self.absent, rows[finite]))
        self.values = np.concatenate((self.values, values[finite]))
        self.weights = np.concatenate((self.weights, weights[finite]))
        self.blocks = np.concatenate((self.blocks, blocks[finite]))


def usual_coalitions(units: int) -> int:
    """Coalitions that schemes and methods of other libraries read where nobody says how many.

    Some for any prompt and more for each unit, so that a linear model is well determined, up to a most;
    beyond it still twice as many as units.
    """
    return max(2 * units, min(64 + 8 * units, 2048))


def singles(players: int) -> Coalitions:
    """Each player absent alone, ``[players, players]``."""
    return np.eye(players, dtype=bool)


def alone(players: int, player: int) -> Coalitions:
    """One player absent alone, ``[players]``."""
    row = np.zeros(players, dtype=bool)
    row[player] = True
    return row


def _key(row: Coalitions) -> bytes:
    return np.packbits(row).tobytes()
