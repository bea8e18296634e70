"""Where the probability goes when a unit is absent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.attribution.distance.geometry import Geometry
from gilot_plugin.attribution.transport import Flows
from gilot_plugin.attribution.types import Flow, TotalFlow

#: Flows kept a unit and a prompt, and the least mass of one.
_MAX_FLOWS = 8
_MAX_TOTALS = 20
_MIN_FLOW_MASS = 1e-3


class Move(NamedTuple):
    """Probability that an optimal coupling moves between two different outcomes.

    Attributes:
        source: Outcome that loses it.
        target: Outcome that gains it.
        mass: Probability moved.
        cost: Ground cost between the two.
    """

    source: int
    target: int
    mass: float
    cost: float


def moves_of(flows: Flows, outcomes: NDArray[np.int64]) -> tuple[Move, ...]:
    """Flows between outcomes, largest first; ties in the order of the outcomes.

    Args:
        flows: Between ``n`` outcomes.
        outcomes: What their rows and columns stand for, ``[n]``.

    Returns:
        Those of at least 0.001.
    """
    rows, columns, masses, costs = (part[flows.masses >= _MIN_FLOW_MASS] for part in flows)
    sources, targets = outcomes[rows], outcomes[columns]
    order = np.lexsort((targets, sources, -masses))
    ordered = (part[order].tolist() for part in (sources, targets, masses, costs))
    return tuple(Move(*row) for row in zip(*ordered, strict=True))


def mean_moves(steps: Sequence[Sequence[Move]]) -> tuple[Move, ...]:
    """Mean mass of each move over steps, largest first."""
    masses: dict[tuple[int, int], float] = {}
    costs: dict[tuple[int, int], float] = {}
    for source, target, mass, cost in (move for moves in steps for move in moves):
        masses[source, target] = masses.get((source, target), 0.0) + mass / len(steps)
        costs[source, target] = cost
    ordered = sorted(masses, key=lambda pair: -masses[pair])
    kept = (pair for pair in ordered if masses[pair] >= _MIN_FLOW_MASS)
    return tuple(Move(*pair, masses[pair], costs[pair]) for pair in kept)


def readable_flows(moves: Sequence[Move], geometry: Geometry) -> tuple[Flow, ...]:
    """The largest moves of a unit, in words."""
    return tuple(
        Flow(geometry.label(source), geometry.label(target), mass, cost)
        for source, target, mass, cost in moves[:_MAX_FLOWS]
    )


def total_flows(units: Iterable[Sequence[Move]], geometry: Geometry) -> tuple[TotalFlow, ...]:
    """Moves added up over the units of a prompt, largest first."""
    masses: dict[tuple[int, int], list[float]] = {}
    costs: dict[tuple[int, int], float] = {}
    for source, target, mass, cost in (move for moves in units for move in moves):
        masses.setdefault((source, target), []).append(mass)
        costs[source, target] = cost
    ordered = sorted(masses, key=lambda pair: -sum(masses[pair]))[:_MAX_TOTALS]
    return tuple(
        TotalFlow(
            geometry.label(source),
            geometry.label(target),
            sum(masses[source, target]),
            costs[source, target],
            len(masses[source, target]),
        )
        for source, target in ordered
    )
