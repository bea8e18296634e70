"""The built-in distances between outcome distributions with a unit present and absent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr

from gilot_plugin.attribution.distance.flows import mean_moves, moves_of
from gilot_plugin.attribution.distance.pair import OutcomePair
from gilot_plugin.attribution.logprobs import IMPOSSIBLE
from gilot_plugin.attribution.methods import Interval, Measurement

FloatArray = NDArray[np.float64]

#: Log-probability that stands for zero in KL: the smallest normal float32, so that KL stays finite.
_LOG_FLOOR = float(np.log(np.finfo(np.float32).tiny))


def optimal_transport(pair: OutcomePair) -> Measurement:
    """GiLOT (Li et al. 2024, equation 7): cost of the cheapest coupling, in units of the ground cost."""
    result, support = pair.transport, pair.support
    return Measurement(
        score=result.cost,
        moves=moves_of(result.plan, pair.costs, support.outcomes),
        gap=max(0.0, result.gap),
        interval=_over_all_outcomes(pair),
        outside_support=support.outside,
        support_size=len(support.outcomes),
        left_over=int(result.left_over),
    )


def _over_all_outcomes(pair: OutcomePair) -> Interval:
    """Bounds of the transport cost between the whole distributions, from those on the support.

    Let e be the mass of each distribution outside the support, and e* the larger one. A coupling of the whole
    distributions moves 1 - e* as the one on the support does, and the rest at most at the largest ground
    cost. The other way round, what an optimal coupling of the whole distributions moves within the support is
    1 - e - e' or more, and completing it to a coupling of the renormalised ones adds at most e + e' times the
    largest cost there.
    """
    support, result = pair.support, pair.transport
    largest = float(pair.costs.max())
    outside_both = support.outside_source + support.outside_target
    lower = max(0.0, result.lower - outside_both * largest)
    upper = (1.0 - support.outside) * result.upper + support.outside * pair.ground.geometry.largest_cost
    return Interval(lower, upper)


def kl_divergence(pair: OutcomePair) -> Measurement:
    """KL(P(.|x) || P(.|x without the unit)) over all outcomes, in nats.

    Probabilities below 1.2e-38 count as that, so that an outcome which became impossible costs at most 87
    nats.
    """
    ratio = np.maximum(pair.log_present, _LOG_FLOOR) - np.maximum(pair.log_absent, _LOG_FLOOR)
    return Measurement(float(pair.present @ ratio))


def l2_norm(pair: OutcomePair) -> Measurement:
    """Euclidean norm of the difference over all outcomes."""
    return Measurement(float(np.linalg.norm(pair.present - pair.absent)))


def jensen_shannon(pair: OutcomePair) -> Measurement:
    """Jensen-Shannon divergence over all outcomes, in nats, from 0 to log 2."""
    middle = 0.5 * (pair.present + pair.absent)
    divergences = rel_entr(pair.present, middle).sum() + rel_entr(pair.absent, middle).sum()
    return Measurement(max(0.0, 0.5 * float(divergences)))


def total_variation(pair: OutcomePair) -> Measurement:
    """Half the sum of absolute differences over all outcomes, from 0 to 1."""
    return Measurement(0.5 * float(np.abs(pair.present - pair.absent).sum()))


def answer_logprob_drop(pair: OutcomePair) -> Measurement:
    """Leave-one-out: log p(answer | x) - log p(answer | x without the unit), in nats."""
    return Measurement(pair.answer_drop)


def margin_drop(pair: OutcomePair) -> Measurement:
    """By how much the absence of a unit lowers the margin of the gold choice, in nats.

    The margin is the log-likelihood of the right choice less that of the strongest other one (of several
    right ones, the strongest). Positive: the unit speaks for the right choice.
    """
    gold = pair.ground.gold
    return Measurement(margin(pair.log_present, gold) - margin(pair.log_absent, gold))


def margin(logprobs: FloatArray, gold: Sequence[int]) -> float:
    """Log-probability of the strongest gold outcome less that of the strongest other one, in nats.

    Args:
        logprobs: ``[outcomes]``.
        gold: Some of the outcomes, not all.
    """
    possible = np.maximum(logprobs, IMPOSSIBLE)
    right = np.isin(np.arange(len(possible)), gold)
    return float(possible[right].max() - possible[~right].max())


def mean_measurement(steps: Sequence[Measurement]) -> Measurement:
    """Average over steps; sizes are those of the step where they are largest."""
    if len(steps) == 1:
        return steps[0]
    intervals = [step.interval for step in steps if step.interval is not None]
    lower, upper = np.mean(intervals, axis=0).tolist() if intervals else (0.0, 0.0)
    return Measurement(
        score=float(np.mean([step.score for step in steps])),
        moves=mean_moves([step.moves for step in steps]),
        gap=float(np.mean([step.gap for step in steps])),
        interval=Interval(lower, upper) if intervals else None,
        outside_support=max(step.outside_support for step in steps),
        support_size=max(step.support_size for step in steps),
        left_over=sum(step.left_over for step in steps),
    )
