"""Coalitions of a game's players, chosen by what is known of them so far."""

from __future__ import annotations

import numpy as np

from gilot_plugin.attribution.schemes.drawing import any_size, complements, within
from gilot_plugin.attribution.schemes.pairs import Second, at_the_ends, suspected
from gilot_plugin.attribution.schemes.protocol import SchemeAsking
from gilot_plugin.attribution.schemes.readings import Coalitions, Readings, alone, singles
from gilot_plugin.attribution.schemes.results import MATTERS, tied_groups
from gilot_plugin.attribution.schemes.surrogate import (
    Surrogate,
    any_pairs,
    marginal_guesses,
    odd,
    pairs_of,
)

#: Pairs that are looked at beside that of the two heaviest.
_SUSPECTED = 5

#: Pairs of complements that are drawn before anything is concluded, and in each round after that.
_FIRST, _ROUND = 16, 4

#: Share of what is left after single absences that the first pairs of complements may take at most.
_FOR_FIRST = 0.65

#: How far a score may be from its guess beside the guess itself, as a share of the mean one.
_FLOOR = 0.5

#: Odd powers of sizes beside the scores: distances saturate.
_BENDS = 2

#: Single presences are read if there is room for so many times as many coalitions.
_PRESENCES_FROM = 2


class Exploration:
    """Finds out what the players of a game are worth.

    Attributes:
        readings: What was read.
        suspects: Pairs of players that were looked at.
    """

    def __init__(self, readings: Readings, seed: int) -> None:
        self.readings = readings
        self.suspects: list[tuple[int, int]] = []
        self._generator = np.random.default_rng(seed)

    def explore(self) -> SchemeAsking[None]:
        """Read single absences, then pairs of complements, then what tells the order of what matters.

        It ends when that order is settled, or nothing more is affordable.
        """
        readings, players = self.readings, len(self.readings.players)
        yield from readings.read(singles(players))
        yield from readings.read(np.ones((1, players), dtype=bool), weights=0.0)
        left = readings.expected(self._generator)
        if left >= _PRESENCES_FROM * players:
            # What stands in for another player shows at once where all others are absent.
            yield from readings.read(~singles(players))
            first = _ROUND
        else:
            first = min(_FIRST, int(_FOR_FIRST * left) // 2)
        yield from readings.read(complements(any_size(self._generator, players, first)), drawn_together=2)
        if not any_pairs(readings):
            return
        yield from self._look_at_pairs()
        open_ = True
        while open_ and tied_groups(model := self.model(0)):
            asked = readings.asked
            rows = np.concatenate(
                (
                    within(self._generator, players, _in_play(model), _ROUND // 2),
                    any_size(self._generator, players, _ROUND // 2),
                )
            )
            afforded = yield from readings.read(complements(rows), drawn_together=2)
            open_ = afforded and readings.asked > asked

    def model(self, measure: int) -> Surrogate:
        """What is known of the players by a measure.

        Raises:
            PromptError: Nothing was read that says it.
        """
        readings = self.readings
        guess = marginal_guesses(readings, both_ends=True)
        for pair in self.pairs():
            # Of players whose absence from the full prompt alone is known, half of what two share is missing.
            for player in pair.pair:
                if not _both_ends_known(readings, player):
                    guess[player] -= pair.values / 2
        everybody = readings.known(np.ones(len(readings.players), dtype=bool))
        total = None if everybody is None else float(everybody[measure])
        own = guess[:, measure]
        floor = _FLOOR * np.abs(own).mean()
        deviations = np.abs(own) + floor if floor > 0 else np.ones(len(own))
        return odd(pairs_of(readings), measure, own, total, deviations, _BENDS)

    def pairs(self) -> list[Second]:
        """What is known of the pairs that were looked at."""
        return list(at_the_ends(self.readings, self.suspects))

    def _look_at_pairs(self) -> SchemeAsking[None]:
        """Read suspected pairs and the heaviest one, from both ends where that is known of single players."""
        readings, players = self.readings, len(self.readings.players)
        scores = self.model(0).scores
        one, other = sorted(np.argsort(-np.abs(scores), kind="stable")[:2].tolist())
        guess = marginal_guesses(readings, both_ends=False)[:, 0]
        self.suspects = list(dict.fromkeys(((one, other), *suspected(readings, guess, _SUSPECTED))))
        rows = np.zeros((len(self.suspects), players), dtype=bool)
        for row, pair in zip(rows, self.suspects, strict=True):
            row[list(pair)] = True
        yield from readings.read(rows)
        if all(_both_ends_known(readings, player) for pair in self.suspects for player in pair):
            yield from readings.read(~rows)


def _in_play(model: Surrogate) -> Coalitions:
    """Players that may matter, ``[players]``."""
    threshold = MATTERS * np.abs(model.scores).max()
    furthest = np.abs(np.array(model.intervals())).max(axis=1)
    found: Coalitions = furthest >= threshold
    return found


def _both_ends_known(readings: Readings, player: int) -> bool:
    row = alone(len(readings.players), player)
    return readings.known(row) is not None and readings.known(~row) is not None
