"""Intervals by bootstrap, paired tests by flipped signs, false discoveries, power, McNemar."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

#: Rate of false discoveries that all findings of one report together are held to.
ALPHA = 0.05
#: Of the intervals.
CONFIDENCE = 0.95
#: Below so many samples an interval would promise more than it holds.
MIN_SAMPLES = 5
#: Chance to find an effect that the smallest detectable one is given for.
POWER = 0.8
#: Fewer pairs can hardly show anything: with 6, all signs alike have a chance of 1 in 32.
MIN_PAIRS = 6

_BOOTSTRAP_RESAMPLES = 2000
_RESAMPLES = 9999
#: Below this p-value, so many are not enough to tell one finding among hundreds of tests from chance.
_REFINED_BELOW = 0.005
_REFINED_RESAMPLES = 99_999
_BATCH = 500


class PairedTest(NamedTuple):
    """A paired difference, and what may be said of it.

    Attributes:
        pairs: Number of pairs.
        mean: Mean difference.
        low: Lower end of its 95 % bootstrap interval; None with too few pairs.
        high: Its upper end.
        effect_size: Cohen's d of paired differences: mean over standard deviation; None where all are equal.
        p_value: Of the permutation test; 1 with too few pairs.
        detectable: Smallest mean difference that so many pairs, as scattered as these, would show with a
            probability of 80 %; None with too few pairs.
    """

    pairs: int
    mean: float
    low: float | None
    high: float | None
    effect_size: float | None
    p_value: float
    detectable: float | None


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float | None, float | None]:
    """Interval of the mean at :data:`CONFIDENCE`, by bias-corrected bootstrap; Nones with too few values."""
    if len(values) < MIN_SAMPLES:
        return None, None
    if np.ptp(values) == 0:  # where the correction has nothing to go by
        return float(values[0]), float(values[0])
    interval = scipy.stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=_BOOTSTRAP_RESAMPLES,
        confidence_level=CONFIDENCE,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def paired_test(differences: np.ndarray, *, one_sided: bool = False, seed: int = 0) -> PairedTest:
    """Test whether paired differences have a mean other than 0.

    Exact where each pair is as likely to differ the one way as the other, which holds if both sides of a pair
    are drawn from the same distribution.

    Args:
        differences: One number a pair.
        one_sided: Whether only a mean above 0 counts.
        seed: Of the resampling.
    """
    count = len(differences)
    spread = float(np.std(differences, ddof=1)) if count > 1 else 0.0
    low, high = bootstrap_interval(differences, seed)
    return PairedTest(
        pairs=count,
        mean=float(np.mean(differences)) if count else 0.0,
        low=low,
        high=high,
        effect_size=float(np.mean(differences) / spread) if spread > 0 else None,
        p_value=_permutation_p(differences, one_sided, seed) if count >= MIN_PAIRS else 1.0,
        detectable=spread * detectable_effect(count) if count >= MIN_PAIRS else None,
    )


def adjusted(p_values: Sequence[float], families: int = 1) -> list[float]:
    """P-values of one family, adjusted by Benjamini and Hochberg, times the number of families.

    Of what is below a rate in any family, at most that share is false; where nothing changed at all, that
    rate is the chance of any finding.

    Args:
        p_values: Of all tests of the family.
        families: Number of families that are reported together.
    """
    if not p_values:
        return []
    found: list[float] = np.minimum(1.0, families * scipy.stats.false_discovery_control(p_values)).tolist()
    return found


@cache
def detectable_effect(pairs: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest effect size that a two-sided paired t-test of so many pairs finds with that probability.

    The permutation test has nearly the same power.
    """
    degrees = pairs - 1
    critical = scipy.stats.t.ppf(1 - alpha / 2, degrees)

    def missing(effect: float) -> float:
        # The other tail adds nothing that counts; far out scipy's value is not a number, and the power is 1.
        found = scipy.stats.nct.sf(critical, degrees, effect * np.sqrt(pairs))
        return (1.0 if np.isnan(found) else float(found)) - power

    return float(scipy.optimize.brentq(missing, 1e-6, (critical + 10) / np.sqrt(pairs)))


def mcnemar(right_to_wrong: int, wrong_to_right: int) -> float:
    """Exact p-value of McNemar's test: whether as many answers got worse as got better."""
    changed = right_to_wrong + wrong_to_right
    return float(scipy.stats.binomtest(right_to_wrong, changed).pvalue) if changed else 1.0


def _permutation_p(differences: np.ndarray, one_sided: bool, seed: int) -> float:
    if not np.any(differences):
        return 1.0
    alternative: Literal["greater", "two-sided"] = "greater" if one_sided else "two-sided"
    if 2 ** len(differences) <= _RESAMPLES:
        return _exact_p(differences, one_sided)
    generator = np.random.default_rng(seed)

    def with_flipped_signs(size: tuple[int, ...]) -> np.ndarray:
        flipped: np.ndarray = differences * (generator.integers(0, 2, size, dtype=np.int8) * 2 - 1)
        return flipped

    def p_value(resamples: int) -> float:
        drawn = scipy.stats.monte_carlo_test(
            differences,
            with_flipped_signs,
            np.mean,
            vectorized=True,
            n_resamples=resamples,
            batch=_BATCH,
            alternative=alternative,
        )
        return float(drawn.pvalue)

    # A second draw, not more of the first one: a p-value that chance made small gets no help from it.
    rough = p_value(_RESAMPLES)
    return p_value(_REFINED_RESAMPLES) if rough < _REFINED_BELOW else rough


def _exact_p(differences: np.ndarray, one_sided: bool) -> float:
    """By all ``2**n`` signs, ``[signs, n]``; scipy's exact test draws them up one by one, 30 times slower."""
    count = len(differences)
    signs = (np.arange(2**count)[:, None] >> np.arange(count) & 1) * 2.0 - 1.0
    sums = signs @ differences
    # Sums that are equal but for the order of their terms are equal.
    slack = 1e-12 * float(np.abs(differences).sum())
    above = float(np.mean(sums >= differences.sum() - slack))
    below = float(np.mean(sums <= differences.sum() + slack))
    return above if one_sided else min(1.0, 2 * min(above, below))
