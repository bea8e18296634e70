"""What a paired test could have found: the smallest effect that it shows with a given probability."""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.optimize
import scipy.stats

from gilot_plugin.statistics.families import Judgement
from gilot_plugin.statistics.paired import MIN_PAIRS, PairedTest

#: Chance to find an effect that the smallest detectable one is given for.
POWER = 0.8

#: Up to so many signs that count as a finding, they are gone through; with more the t-test's power serves.
_FEW_SIGNS = 16
#: Of the differences nearest to 0, so many may have another sign than the rest.
_NEAREST = 8
_DRAWS = 4000


def detectable(test: PairedTest, judgement: Judgement, *, one_sided: bool = False) -> float | None:
    """The smallest mean difference that a test would have shown four times in five, as one of its family.

    Returns:
        For differences that scatter as those that were observed; None where so few pairs could show nothing.
    """
    if judgement.level is None or test.attainable > judgement.level:
        return None
    # A two-sided test at twice the level has the power of a one-sided one.
    level = min(1.0, judgement.level * (2 if one_sided else 1))
    return test.floor + test.spread * detectable_effect(test.pairs, level)


@cache
def detectable_effect(pairs: int, alpha: float, power: float = POWER) -> float:
    """Smallest effect size that a two-sided test of flipped signs finds with that probability.

    Args:
        pairs: Number of pairs, normally distributed; at least
            :data:`gilot_plugin.statistics.paired.MIN_PAIRS`.
        alpha: Level of the test.
        power: The probability.
    """
    if pairs < MIN_PAIRS:
        raise ValueError(f"{pairs} pairs are not tested")
    signs = int(alpha / 2 * 2.0**pairs)
    if signs < 1:
        return float("inf")
    by_t = _by_t_test(pairs, alpha, power)
    return max(by_t, _by_signs(pairs, signs, power)) if signs <= _FEW_SIGNS else by_t


def _by_t_test(pairs: int, alpha: float, power: float) -> float:
    """Of the paired t-test, whose power that of flipped signs approaches."""
    degrees = pairs - 1
    critical = scipy.stats.t.ppf(1 - alpha / 2, degrees)

    def missing(effect: float) -> float:
        # The other tail adds nothing that counts; far out scipy's value is not a number, and the power is 1.
        found = scipy.stats.nct.sf(critical, degrees, effect * np.sqrt(pairs))
        return (1.0 if np.isnan(found) else float(found)) - power

    return float(scipy.optimize.brentq(missing, 1e-6, (critical + 10) / np.sqrt(pairs)))


def _by_signs(pairs: int, signs: int, power: float) -> float:
    """Where only the ``signs`` largest of all sums count, by drawing; the t-test has more power there.

    A sum is among them if few sets of differences have a smaller sum than the negative ones: sets of those
    nearest to 0.
    """
    noise = np.random.default_rng(pairs).normal(size=(_DRAWS, pairs))
    nearest = min(_NEAREST, pairs)
    members = (np.arange(2**nearest)[:, None] >> np.arange(nearest) & 1).astype(float)

    def missing(effect: float) -> float:
        drawn = noise + effect
        negative = np.where(drawn < 0, -drawn, 0.0).sum(axis=1)
        sizes = np.sort(np.abs(drawn), axis=1)[:, :nearest]
        smaller = (sizes @ members.T < negative[:, None] * (1 - 1e-12)).sum(axis=1)
        return float(np.mean(smaller < signs)) - power

    return float(scipy.optimize.brentq(missing, 1e-3, 10.0, xtol=1e-3))
