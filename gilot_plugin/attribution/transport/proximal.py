"""The proximal point method with the Kullback-Leibler divergence."""

from __future__ import annotations

from gilot_plugin.attribution.transport.entropic import EntropicSolver, Path
from gilot_plugin.attribution.transport.problem import MOST_FLOWS
from gilot_plugin.attribution.transport.scaling import Scalings
from gilot_plugin.attribution.transport.tolerance import Tolerance

#: Weight of the divergence from the last plan, in units of the cost range.
_BETA = 1.0 / 32.0


class Proximal(EntropicSolver):
    """Proximal points (Xie et al. 2020): each plan minimises ``<T, C> + beta KL(T || last plan)``.

    The first plan is the product of source and target, so the minimisers are scalings of
    ``exp(-k C / beta)``: entropic plans of sharpness k / beta. Each is solved until the rest of the gap is
    not its own error any more, instead of with the one iteration of the published procedure, and in the log
    domain, instead of by a product of kernels that underflows.

    Args:
        tolerance: The gap to reach.
        most_flows: Flows of a result.
    """

    def __init__(self, tolerance: Tolerance, most_flows: int = MOST_FLOWS) -> None:
        super().__init__(tolerance, Path(1.0 / _BETA, _one_step_on), most_flows)


def _one_step_on(settled: Scalings, before: Scalings) -> Scalings:
    # The last step's scalings are the guess of this step's (Xie et al. 2020, section 3): in logarithms, what
    # the last step added, the sharpness 1 / beta included, is added once more.
    return Scalings(*(2.0 * now - then for now, then in zip(settled, before, strict=True)))
