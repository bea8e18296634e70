"""The built-in distances between outcome distributions with a unit present and absent.

Each is a function of log-probabilities, ``[steps, outcomes]`` with the unit and ``[rows, steps, outcomes]``
without, and gives ``[rows, steps]`` where these are: float64, or float32 where the device has nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from gilot_plugin.attribution.distance.flows import mean_moves, moves_of
from gilot_plugin.attribution.distance.solved import SolvedProblem
from gilot_plugin.attribution.methods import Interval, Measurement
from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE, total

#: Log-probability that stands for zero in KL: the smallest normal float32, so that KL stays finite.
_LOG_FLOOR = math.log(torch.finfo(torch.float32).tiny)


def optimal_transport(solved: SolvedProblem) -> Measurement:
    """GiLOT (Li et al. 2024, equation 7): cost of the cheapest coupling, in units of the ground cost."""
    result, support = solved.result, solved.support
    return Measurement(
        score=result.cost,
        moves=moves_of(result.flows, support.outcomes),
        gap=max(0.0, result.gap),
        interval=_over_all_outcomes(solved),
        outside_support=support.outside,
        support_size=len(support.outcomes),
        left_over=int(result.left_over),
    )


def _over_all_outcomes(solved: SolvedProblem) -> Interval:
    """Bounds of the transport cost between the whole distributions, from those on the support.

    Let e be the mass of each distribution outside the support, and e* the larger one. A coupling of the whole
    distributions moves 1 - e* as the one on the support does, and the rest at most at the largest ground
    cost. The other way round, what an optimal coupling of the whole distributions moves within the support is
    1 - e - e' or more, and completing it to a coupling of the renormalised ones adds at most e + e' times the
    largest cost there.
    """
    support, result = solved.support, solved.result
    outside_both = support.outside_source + support.outside_target
    lower = max(0.0, result.lower - outside_both * result.largest_cost)
    upper = (1.0 - support.outside) * result.upper + support.outside * solved.largest_cost
    return Interval(lower, upper)


def kl_divergence(present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """KL(P(.|x) || P(.|x without the unit)) over all outcomes, in nats.

    Probabilities below 1.2e-38 count as that, so that an outcome which became impossible costs at most 87
    nats.
    """
    ratio = present.clamp(min=_LOG_FLOOR) - absent.clamp(min=_LOG_FLOOR)
    return total(ratio.mul_(present.exp()))


def l2_norm(present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """Euclidean norm of the difference over all outcomes."""
    return total(absent.exp().sub_(present.exp()).square_()).sqrt()


def jensen_shannon(present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """Jensen-Shannon divergence over all outcomes, in nats, from 0 to log 2."""
    source, target = present.exp(), absent.exp()
    middle = (source + target).mul_(0.5)
    # 0 log 0 = 0; where the middle is 0, both are.
    logs = middle.log().clamp_(min=torch.finfo(middle.dtype).min)
    from_source = (present.clamp(min=IMPOSSIBLE) - logs).mul_(source)
    from_target = (absent.clamp(min=IMPOSSIBLE) - logs).mul_(target)
    return total(from_source.add_(from_target)).mul_(0.5).clamp_(min=0.0)


def total_variation(present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """Half the sum of absolute differences over all outcomes, from 0 to 1."""
    return total(absent.exp().sub_(present.exp()).abs_()).mul_(0.5)


def margin(logprobs: torch.Tensor, gold: Sequence[int]) -> torch.Tensor:
    """Log-probability of the strongest gold outcome less that of the strongest other one, in nats, ``[...]``.

    Args:
        logprobs: ``[..., outcomes]``.
        gold: Some of the outcomes, not all.
    """
    possible = logprobs.clamp(min=IMPOSSIBLE)
    others = [outcome for outcome in range(logprobs.shape[-1]) if outcome not in gold]
    return possible[..., list(gold)].amax(-1) - possible[..., others].amax(-1)


def margin_drop(gold: Sequence[int], present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """By how much the absence of a unit lowers the margin of the gold choice, in nats.

    Args:
        gold: Numbers of the right choices.
        present: Log-probabilities of the choices with the unit.
        absent: The same without.
    """
    return margin(present, gold) - margin(absent, gold)


def choice_drop(present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    """By how much the absence of a unit lowers the log-probability of the full prompt's likeliest outcome."""
    likeliest = present.argmax(-1, keepdim=True)
    before, after = (
        logprobs.gather(-1, likeliest.expand(*logprobs.shape[:-1], 1))[..., 0].clamp(min=IMPOSSIBLE)
        for logprobs in (present, absent)
    )
    return before - after


def mean_measurement(steps: Sequence[Measurement]) -> Measurement:
    """Average over steps; sizes are those of the step where they are largest."""
    positions = tuple(step.score for step in steps)
    if len(steps) == 1:
        return steps[0]._replace(positions=positions)
    intervals = [step.interval for step in steps if step.interval is not None]
    lower, upper = np.mean(intervals, axis=0).tolist() if intervals else (0.0, 0.0)
    return Measurement(
        score=float(np.mean(positions)),
        moves=mean_moves([step.moves for step in steps]),
        gap=float(np.mean([step.gap for step in steps])),
        interval=Interval(lower, upper) if intervals else None,
        outside_support=max(step.outside_support for step in steps),
        support_size=max(step.support_size for step in steps),
        left_over=sum(step.left_over for step in steps),
        positions=positions,
    )
