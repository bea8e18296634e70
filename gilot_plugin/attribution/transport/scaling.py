"""Matrix scaling: the iterations that the entropic solvers share.

A plan of the form ``source_i target_j exp(rows_i + columns_j - sharpness * costs_ij)`` solves the entropic
problem of strength 1/sharpness as soon as its marginals are right. Sinkhorn's iterations make them right,
in turn; each problem of a batch has its own sharpness.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from gilot_plugin.attribution.transport.padding import PaddedProblems

#: Bounds of the scalings and of their changes between two passes in the log domain. A change is raised to at
#: most the second power and sums have far less than 1e20 terms, so that nothing overflows.
_LARGEST_SCALING = 1e120
_SMALLEST_RATIO = 1e-75


class Scalings(NamedTuple):
    """Logarithms of the scalings of a plan, finite everywhere, also at outcomes without mass.

    Attributes:
        rows: ``[b, n]``.
        columns: ``[b, m]``.
        sharpness: Reciprocal of the entropic regularisation, in units of 1 / cost range, ``[b]``.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    sharpness: torch.Tensor

    def only(self, chosen: torch.Tensor) -> Scalings:
        """Those of the problems at the given indices or where the given mask is true."""
        return Scalings(*(tensor[chosen] for tensor in self))


class Scaled(NamedTuple):
    """What some iterations gave.

    Attributes:
        scalings: After the last iteration.
        plan: Of these scalings, ``[b, n, m]``.
    """

    scalings: Scalings
    plan: torch.Tensor


def unscaled(batch: PaddedProblems) -> Scalings:
    """The product of source and target: the plan of sharpness 0."""
    return Scalings(
        torch.zeros_like(batch.source), torch.zeros_like(batch.target), torch.zeros_like(batch.ranges)
    )


def scale(batch: PaddedProblems, start: Scalings, relaxation: float, sweeps: int) -> Scaled:
    """Sinkhorn iterations: the first in the log domain, where nothing under- or overflows, the others not.

    Args:
        batch: The problems.
        start: Scalings to start at. ``rows`` alone matter, and the sharpness.
        relaxation: Exponent of each change of a scaling: 1 for plain iterations, between 1 and 2 for
            over-relaxed ones (Thibault et al. 2021), which converge in far fewer if they converge.
        sweeps: Iterations after the first one. Each makes the columns right, then the rows.

    Returns:
        The scalings and their plan.
    """
    source, target, costs, *_ = batch
    sharpness = start.sharpness[:, None, None]
    exponents = torch.mul(costs, -sharpness).add_((start.rows + source.log())[:, :, None])
    columns = -exponents.logsumexp(1)
    torch.mul(costs, -sharpness, out=exponents).add_((columns + target.log())[:, None, :])
    peaks = exponents.amax(2)
    kernel = exponents.sub_(peaks[:, :, None]).exp_()
    sums = kernel.sum(2)
    rows = -peaks - sums.log()
    kernel.mul_((source / sums)[:, :, None])

    left, right = torch.ones_like(source), torch.ones_like(target)
    # Outcomes without mass: 1 in place of 0 / 0 leaves their scalings alone.
    no_source, no_target = (source == 0.0).double(), (target == 0.0).double()
    for _ in range(sweeps):
        carried = right * torch.bmm(left[:, None, :], kernel)[:, 0]
        right = _changed(right, (target + no_target) / (carried + no_target), relaxation)
        carried = left * torch.bmm(kernel, right[:, :, None])[:, :, 0]
        left = _changed(left, (source + no_source) / (carried + no_source), relaxation)
    kernel.mul_(left[:, :, None]).mul_(right[:, None, :])
    return Scaled(Scalings(rows + left.log(), columns + right.log(), start.sharpness), kernel)


def _changed(scaling: torch.Tensor, ratio: torch.Tensor, relaxation: float) -> torch.Tensor:
    change = ratio.clamp(_SMALLEST_RATIO, 1.0 / _SMALLEST_RATIO) ** relaxation
    return (scaling * change).clamp(1.0 / _LARGEST_SCALING, _LARGEST_SCALING)
