"""Bounds of the optimal cost that hold whatever a solver did, for batches of problems.

Every function takes float64: the bounds are meant to hold to round-off.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

_TINY = torch.finfo(torch.float64).tiny


class Rounded(NamedTuple):
    """A plan made feasible.

    Attributes:
        plan: Coupling of source and target, ``[b, n, m]``.
        moved: Mass that the given plan had not brought from where it was to where it belongs, ``[b]``.
    """

    plan: torch.Tensor
    moved: torch.Tensor


def rounded(plan: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> Rounded:
    """The coupling nearby a plan (Altschuler, Weed and Rigollet 2017, algorithm 2).

    Rows and then columns that carry too much are shrunk; what is then missing moves from everywhere to
    everywhere.

    Args:
        plan: ``[b, n, m]``, not negative. Entries that are not finite count as 0.
        source: ``[b, n]``.
        target: ``[b, m]``.

    Returns:
        The coupling. Its cost bounds the optimal one from above.
    """
    plan = plan.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    plan.mul_((source / plan.sum(2).clamp_min(_TINY)).clamp_max(1.0)[:, :, None])
    plan.mul_((target / plan.sum(1).clamp_min(_TINY)).clamp_max(1.0)[:, None, :])
    left = (source - plan.sum(2)).clamp_min(0.0)
    missing = (target - plan.sum(1)).clamp_min(0.0)
    moved = left.sum(1)
    plan.baddbmm_(left[:, :, None], (missing / moved.clamp_min(_TINY)[:, None])[:, None, :])
    return Rounded(plan, moved)


class Dual(NamedTuple):
    """Feasible dual potentials.

    Attributes:
        value: What they prove: no plan costs less, ``[b]``. NaN or minus infinity where a potential that
            matters is not finite.
        rows: Of the source, ``[b, n]``.
        columns: Of the target, ``[b, m]``; 0 at outcomes without mass.
    """

    value: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor


def feasible(
    potentials: torch.Tensor, source: torch.Tensor, target: torch.Tensor, costs: torch.Tensor
) -> Dual:
    """Make potentials feasible by c-transforms, which can only raise the value of the dual.

    Outcomes without mass ask nothing of the potentials, so they are left out.

    Args:
        potentials: Guess of the source's potentials, ``[b, n]``. Outcomes without mass need none.
        source: ``[b, n]``.
        target: ``[b, m]``.
        costs: ``[b, n, m]``.

    Returns:
        The potentials and their value.
    """
    rows = potentials.masked_fill(source == 0.0, -torch.inf)
    columns = (costs - rows[:, :, None]).amin(1)
    # A constant may move between the two sides. Where it is large, the sums below would lose it to round-off.
    columns = (columns - columns.amax(1, keepdim=True)).masked_fill(target == 0.0, -torch.inf)
    rows = (costs - columns[:, None, :]).amin(2)
    columns = columns.masked_fill(target == 0.0, 0.0)
    return Dual((source * rows).sum(1) + (target * columns).sum(1), rows, columns)
