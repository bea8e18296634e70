"""A transport problem between outcome distributions, and its solution."""

from __future__ import annotations

from typing import NamedTuple

from gilot_plugin.attribution.distance.support import Support
from gilot_plugin.attribution.transport import TransportResult


class SolvedProblem(NamedTuple):
    """Outcome distributions with a unit present and absent at one position, and the transport between them.

    Attributes:
        support: The distributions on the outcomes that take part, and what was left out.
        result: The solution.
        largest_cost: No ground cost between any two outcomes is above it.
    """

    support: Support
    result: TransportResult
    largest_cost: float
