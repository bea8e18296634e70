"""Which coalitions to read where there are too many for all of them."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.schemes.readings import Coalitions, Numbers


def complements(rows: Coalitions) -> Coalitions:
    """Each coalition and after it the one of all others, ``[2 n, players]``."""
    both: Coalitions = np.stack((rows, ~rows), axis=1).reshape(-1, rows.shape[1])
    return both


def any_size(generator: np.random.Generator, players: int, count: int) -> Coalitions:
    """Coalitions of two players at least and two others, ``[count, players]``; all sizes are as likely.

    So are they along the curves that take the units away one after the other, and in Shapley's orders.
    """
    if players < 4:
        return np.zeros((0, players), dtype=bool)
    sizes = generator.integers(2, players - 1, size=count)
    return _of_sizes(generator, players, sizes)


def halves(generator: np.random.Generator, players: int, count: int) -> Coalitions:
    """Each player absent with probability 1/2, ``[count, players]``."""
    drawn: Coalitions = generator.random((count, players)) < 0.5
    return drawn


def within(generator: np.random.Generator, players: int, in_play: Coalitions, count: int) -> Coalitions:
    """Coalitions of players that are in play, the others all present, ``[count, players]``."""
    places = np.flatnonzero(in_play)
    rows = np.zeros((count, players), dtype=bool)
    if len(places) > 1:
        sizes = generator.integers(1, len(places), size=count)
        rows[:, places] = _of_sizes(generator, len(places), sizes)
    return rows


def kernel_weights(absent: Coalitions) -> Numbers:
    """Weights of coalitions in the regression whose solution are Shapley values, ``[n]``.

    Those of the empty one and of that of all players, whose values hold exactly, are 0 (Lundberg and Lee
    2017, theorem 2).
    """
    players = absent.shape[1]
    return np.array([_mass(players, size) / comb(players, size) for size in absent.sum(axis=1).tolist()])


def _mass(players: int, size: int) -> float:
    """Weight of all coalitions of a size together."""
    return (players - 1) / (size * (players - size)) if 0 < size < players else 0.0


def by_weight(generator: np.random.Generator, players: int, count: int) -> tuple[Coalitions, Numbers]:
    """Coalitions for that regression, where there are too many for all.

    Those that weigh most come first: all single absences and presences, then all pairs and their complements,
    and so on as long as a size gets no fewer coalitions than it has; of the other sizes, pairs of complements
    are drawn.

    Args:
        generator: Draws.
        players: How many there are; two at least.
        count: How many coalitions may be read.

    Returns:
        ``[n, players]``, complements side by side, and their weights, ``[n]``.
    """
    masses = {size: _mass(players, size) for size in range(1, players)}
    rows: list[Coalitions] = [np.zeros((0, players), dtype=bool)]
    weights: list[Numbers] = [np.zeros(0)]
    for size in range(1, players // 2 + 1):
        layer = {size, players - size}
        number, mass = len(layer) * comb(players, size), sum(masses[one] for one in layer)
        # Single absences and presences are worth having wherever they can be had.
        if number > count or (size > 1 and count * mass < number * sum(masses.values())):
            break
        whole = _all_of_size(players, size)
        rows.append(whole if len(layer) == 1 else complements(whole))
        weights.append(np.full(number, mass / number))
        count -= number
        masses = {one: mass for one, mass in masses.items() if one not in layer}
    if masses and count > 1:
        left = sum(masses.values())
        chances = np.array(list(masses.values())) / left
        rows.append(complements(_distinct(generator, players, list(masses), chances, count // 2)))
        weights.append(np.full(len(rows[-1]), left / max(1, len(rows[-1]))))
    return np.concatenate(rows), np.concatenate(weights)


def _distinct(
    generator: np.random.Generator, players: int, sizes: list[int], chances: Numbers, count: int
) -> Coalitions:
    """Coalitions, none of which is another one or its complement."""
    found: dict[bytes, Coalitions] = {}
    for _ in range(20):
        missing = count - len(found)
        if missing <= 0:
            break
        drawn = _of_sizes(generator, players, generator.choice(sizes, size=missing, p=chances))
        for row in drawn:
            first = row if row[0] else ~row
            found.setdefault(np.packbits(first).tobytes(), row)
    return np.array(list(found.values()), dtype=bool).reshape(-1, players)


def _of_sizes(generator: np.random.Generator, players: int, sizes: NDArray[np.int64]) -> Coalitions:
    rows = np.zeros((len(sizes), players), dtype=bool)
    for row, size in zip(rows, sizes, strict=True):
        row[generator.choice(players, size=int(size), replace=False)] = True
    return rows


def _all_of_size(players: int, size: int) -> Coalitions:
    chosen = list(combinations(range(players), size))
    rows = np.zeros((len(chosen), players), dtype=bool)
    for row, places in zip(rows, chosen, strict=True):
        row[list(places)] = True
    return rows
