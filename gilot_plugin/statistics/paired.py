"""Paired tests by flipped signs, also against a floor; McNemar's test of answers that changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from gilot_plugin.statistics.intervals import mean_interval

#: Fewer pairs can hardly show anything: with 6, all signs alike have a chance of 1 in 32.
MIN_PAIRS = 6

#: Up to so many pairs, all signs are gone through; of more, so many are drawn.
_MOST_ENUMERATED = 16
_RESAMPLES = 9999
#: Below this p-value, so many are not enough to tell one finding among hundreds of tests from chance.
_REFINED_BELOW = 0.005
_REFINED_RESAMPLES = 299_999
_BATCH = 5000


class PairedTest(NamedTuple):
    """A paired difference, and what may be said of it.

    Attributes:
        pairs: Number of pairs.
        mean: Mean difference.
        low: Lower end of its 95 % interval; None with too few pairs.
        high: Its upper end.
        effect_size: Cohen's d of paired differences: mean over standard deviation; None where all are equal.
        p_value: Of the permutation test of whether the mean is no further from 0 than the floor; 1 with too
            few pairs.
        attainable: Smallest p-value that so many pairs can have, whatever their differences are.
        floor: How far from 0 the mean may be without being anything, at least 0.
    """

    pairs: int
    mean: float
    low: float | None
    high: float | None
    effect_size: float | None
    p_value: float
    attainable: float
    floor: float

    @property
    def spread(self) -> float:
        """Standard deviation of the differences; 0 where all are equal."""
        return self.mean / self.effect_size if self.effect_size else 0.0


def paired_test(
    differences: np.ndarray, *, floor: float = 0.0, one_sided: bool = False, seed: int = 0
) -> PairedTest:
    """One test; see :func:`paired_tests`."""
    return paired_tests([differences], [floor], one_sided=one_sided, seed=seed)[0]


def paired_tests(
    differences: Sequence[np.ndarray],
    floors: Sequence[float] | None = None,
    *,
    one_sided: bool = False,
    seed: int = 0,
) -> list[PairedTest]:
    """Test of each set of paired differences whether its mean is further from 0 than its floor.

    The hypothesis that is tested is an interval, ``|mean| <= floor``, so that what is not above the floor
    counts as any other test that finds nothing, and takes part in the adjustment for many tests as such. Its
    p-value is that of the end of the interval that lies nearest to the observed mean: two-sided by flipped
    signs of the differences from that end, and 1 where the observed mean is within the interval.

    Exact for a floor of 0 where each pair is as likely to differ the one way as the other, which holds if
    both sides of a pair are drawn from the same distribution.

    Args:
        differences: For each test, one number a pair.
        floors: For each test; None for 0 everywhere.
        one_sided: Whether only a mean above the floor counts.
        seed: Of the signs that are drawn for more than 16 pairs.
    """
    given = [0.0] * len(differences) if floors is None else list(floors)
    away = [_from_floor(values, floor, one_sided) for values, floor in zip(differences, given, strict=True)]
    p_values = [1.0] * len(differences)
    tested = {
        place: values
        for place, values in enumerate(away)
        if values is not None and len(values) >= MIN_PAIRS and values.any()
    }
    for enumerated in (True, False):
        own = {
            place: values
            for place, values in tested.items()
            if (len(values) <= _MOST_ENUMERATED) == enumerated
        }
        for place, p_value in zip(own, _flipped_sign_p(list(own.values()), one_sided, seed), strict=True):
            p_values[place] = float(p_value)
    return [
        _described(values, floor, p_value, one_sided)
        for values, floor, p_value in zip(differences, given, p_values, strict=True)
    ]


def smallest_p(pairs: int, *, one_sided: bool = False) -> float:
    """Smallest p-value that so many pairs can have: all signs alike, or the fewest draws."""
    if pairs < MIN_PAIRS:
        return 1.0
    return max(0.5 ** (pairs if one_sided else pairs - 1), (1 if one_sided else 2) / (_REFINED_RESAMPLES + 1))


def _from_floor(values: np.ndarray, floor: float, one_sided: bool) -> np.ndarray | None:
    """Differences from the end of the interval ``-floor..floor`` nearest to their mean; None within it."""
    mean = float(np.mean(values)) if len(values) else 0.0
    if one_sided:
        return values - floor
    if abs(mean) <= floor and floor > 0:
        return None
    return values - floor if mean > 0 else values + floor


def _described(values: np.ndarray, floor: float, p_value: float, one_sided: bool) -> PairedTest:
    count = len(values)
    spread = float(np.std(values, ddof=1)) if count > 1 else 0.0
    mean = float(np.mean(values)) if count else 0.0
    return PairedTest(
        count,
        mean,
        *mean_interval(values),
        effect_size=mean / spread if spread > 0 else None,
        p_value=p_value,
        attainable=smallest_p(count, one_sided=one_sided),
        floor=floor,
    )


def _flipped_sign_p(differences: Sequence[np.ndarray], one_sided: bool, seed: int) -> np.ndarray:
    """P-values, one a test, all of them under the same signs.

    For one test the numbers are those of scipy's permutation test, which draws the signs of each test anew.
    """
    if not differences:
        return np.ones(0)
    count = max(map(len, differences))
    # Pairs that a test does not have differ by 0, which has no sign.
    table = np.stack([np.pad(values, (0, count - len(values))) for values in differences], axis=1)
    if count <= _MOST_ENUMERATED:
        return _p_values(table, _all_signs(count), one_sided, observed=0)
    generator = np.random.default_rng((seed, count))
    # The observed signs are one of the possible ones (Phipson and Smyth 2010).
    found = _p_values(table, _drawn_signs(count, _RESAMPLES, generator), one_sided, observed=1)
    small = np.flatnonzero(found < _REFINED_BELOW)
    if len(small):
        # A second draw, not more of the first one: a p-value that chance made small gets no help from it.
        drawn = _drawn_signs(count, _REFINED_RESAMPLES, generator)
        found[small] = _p_values(table[:, small], drawn, one_sided, observed=1)
    return found


def _p_values(table: np.ndarray, batches: Iterable[np.ndarray], one_sided: bool, observed: int) -> np.ndarray:
    """Of sums under signs, ``[signs, pairs]`` a batch; ``observed`` of the signs are not among them."""
    sums = table.sum(axis=0)
    # Sums that are equal but for the order of their terms are equal.
    slack = 1e-12 * np.abs(table).sum(axis=0)
    above, below = np.full(len(sums), float(observed)), np.full(len(sums), float(observed))
    total = observed
    for signs in batches:
        flipped = signs @ table
        above += (flipped >= sums - slack).sum(axis=0)
        below += (flipped <= sums + slack).sum(axis=0)
        total += len(signs)
    fewest = above if one_sided else np.minimum(total, 2 * np.minimum(above, below))
    p_values: np.ndarray = fewest / total
    return p_values


def _all_signs(count: int) -> Iterator[np.ndarray]:
    for start in range(0, 2**count, _BATCH):
        numbers = np.arange(start, min(start + _BATCH, 2**count))
        yield (numbers[:, None] >> np.arange(count) & 1) * 2.0 - 1.0


def _drawn_signs(count: int, resamples: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    for start in range(0, resamples, _BATCH):
        rows = min(_BATCH, resamples - start)
        yield generator.integers(0, 2, (rows, count), dtype=np.int8) * 2.0 - 1.0


def mcnemar(right_to_wrong: int, wrong_to_right: int) -> float:
    """Exact p-value of McNemar's test: whether as many answers got worse as got better."""
    changed = right_to_wrong + wrong_to_right
    return float(scipy.stats.binomtest(right_to_wrong, changed).pvalue) if changed else 1.0


def mcnemar_attainable(changed: int) -> float:
    """Smallest p-value of McNemar's test where so many answers changed."""
    return min(1.0, 0.5 ** (changed - 1))
