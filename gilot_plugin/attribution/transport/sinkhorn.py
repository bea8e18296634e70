"""Sinkhorn's algorithm with epsilon-scaling."""

from __future__ import annotations

from gilot_plugin.attribution.transport.entropic import EntropicSolver, Path
from gilot_plugin.attribution.transport.problem import MOST_FLOWS
from gilot_plugin.attribution.transport.scaling import Scalings
from gilot_plugin.attribution.transport.tolerance import Tolerance

#: The regularisation starts at the cost range divided by this, where a few iterations solve the problem.
_FIRST_SHARPNESS = 32.0

#: Part of itself that the regularisation shrinks to.
_SHRINK = 0.5


class Sinkhorn(EntropicSolver):
    """Entropic transport (Cuturi 2013), stabilised, with epsilon-scaling (Schmitzer 2019, section 3.2).

    The regularisation is halved as often as the gap asks for, and the potentials are kept.

    Args:
        tolerance: The gap to reach.
        most_flows: Flows of a result.
    """

    def __init__(self, tolerance: Tolerance, most_flows: int = MOST_FLOWS) -> None:
        super().__init__(tolerance, HALVING, most_flows)


def _keep_potentials(settled: Scalings, _before: Scalings) -> Scalings:
    # A potential is the regularisation times the logarithm of the scaling.
    return Scalings(*(field / _SHRINK for field in settled))


#: The regularisation is halved, and the potentials are kept.
HALVING = Path(_FIRST_SHARPNESS, _keep_potentials)
