"""Games whose values are a function of who is absent, and schemes played on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import comb
from types import SimpleNamespace

import numpy as np

from gilot_plugin.attribution.schemes.protocol import Interrupted, Scheme, SchemeResult
from gilot_plugin.attribution.types import Unit

Worth = Callable[[frozenset[int]], float]


@dataclass
class TableGame:
    """A game of units that are numbers.

    Attributes:
        count: Units.
        worth: Value of the coalition of absent units, by the measure ``v``; ``w`` is twice that.
        tokens: What a coalition costs.
        ends: Units after which a sentence ends.
        asked: Coalitions that were asked for.
    """

    count: int
    worth: Worth
    tokens: int = 10
    ends: Sequence[int] = ()
    asked: list[frozenset[int]] = field(default_factory=list)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        dots = ["." if place in self.ends else "" for place in range(self.count)]
        return tuple(
            Unit(place, place + 1, f" {place}{dot}", "question", "word") for place, dot in enumerate(dots)
        )

    @property
    def measures(self):
        return (SimpleNamespace(name="v"), SimpleNamespace(name="w"))

    def cost(self, absent):
        return self.tokens


def play(scheme: Scheme, game: TableGame, interrupted_round: int | None = None) -> SchemeResult:
    """What the scheme says; interrupted while it waits for the values of a round, the first one being 1."""
    asking, answer, rounds = scheme(game), None, 0
    try:
        while True:
            if rounds == interrupted_round:
                asking.throw(Interrupted())
            wanted = asking.send(answer)
            coalitions = [frozenset(unit.start_token for unit in absent) for absent in wanted]
            game.asked += coalitions
            values = [game.worth(one) for one in coalitions]
            answer = SimpleNamespace(
                means=lambda name, values=values: [value * (2 if name == "w" else 1) for value in values]
            )
            rounds += 1
    except StopIteration as stop:
        return stop.value


def shapley(worth: Worth, units: int) -> np.ndarray:
    """From the definition, over all coalitions of the others."""
    return np.array(
        [
            sum(gain / (units * comb(units - 1, size)) for size, gain in gains(worth, units, one))
            for one in range(units)
        ]
    )


def banzhaf(worth: Worth, units: int) -> np.ndarray:
    """From the definition, over all coalitions of the others."""
    return np.array([np.mean([gain for _, gain in gains(worth, units, one)]) for one in range(units)])


def gains(worth: Worth, units: int, one: int) -> Iterator[tuple[int, float]]:
    """What a unit's absence adds to every coalition of the others, and the size of that."""
    rest = [two for two in range(units) if two != one]
    for size in range(units):
        for others in map(frozenset, combinations(rest, size)):
            yield size, worth(others | {one}) - worth(others)


def pair_index(worth: Worth, units: int, pair: tuple[int, int], *, of_shapley: bool) -> float:
    """Mean second difference of presence over all coalitions of the others, from the definition."""
    rest = [one for one in range(units) if one not in pair]
    total = weights = 0.0
    for size in range(len(rest) + 1):
        for others in combinations(rest, size):
            weight = 1 / ((units - 1) * comb(units - 2, size)) if of_shapley else 1.0
            gone = frozenset(others)
            value = worth(gone | {pair[0]}) + worth(gone | {pair[1]}) - worth(gone) - worth(gone | set(pair))
            total, weights = total + weight * value, weights + weight
    return total / weights


def second_order(units: int, seed: int) -> tuple[Worth, np.ndarray]:
    """A game of single and pair terms, and its pair terms."""
    generator = np.random.default_rng(seed)
    singles, pairs = generator.normal(size=units), np.triu(generator.normal(size=(units, units)), 1)

    def worth(absent: frozenset[int]) -> float:
        places = sorted(absent)
        return float(singles[places].sum() + pairs[np.ix_(places, places)].sum())

    return worth, pairs


def any_game(units: int, seed: int) -> Worth:
    """Every coalition is worth something else; the empty one nothing."""
    values = np.random.default_rng(seed).normal(size=2**units)
    return lambda absent: float(values[sum(1 << place for place in absent)]) if absent else 0.0


def twins(absent: frozenset[int]) -> float:
    """Units 2 and 5 say the same, 7 matters by itself."""
    return float({2, 5} <= absent) + 0.4 * (7 in absent)
