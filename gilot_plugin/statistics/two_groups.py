"""Means of two groups of samples, compared within strata by shuffled labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.statistics.intervals import CONFIDENCE
from gilot_plugin.statistics.power import POWER

#: Samples that each group needs at least; with 3 in each, one shuffle in 20 is the observed one.
MIN_GROUP = 3

#: So many shuffles are drawn, and so many more where the p-value is below this.
_RESAMPLES, _REFINED_RESAMPLES, _REFINED_BELOW = 9999, 99_999, 0.005
_BATCH = 2000


class GroupTest(NamedTuple):
    """How much larger a mean is in one group than in the other.

    Attributes:
        samples: In the group, and outside it.
        mean: In the group.
        other: Outside it.
        difference: Within strata, averaged with the weights n m / (n + m) of least squares; that of the
            means where there is one stratum.
        low: Lower end of its 95 % interval, by standard errors that let groups scatter apart (HC2); None
            with too few samples.
        high: Its upper end.
        effect_size: Cohen's d: the difference over the standard deviation within groups; None where that
            is 0.
        p_value: Two-sided, of labels that are shuffled within strata; 1 with too few samples.
        attainable: Smallest p-value that so many samples can have.
        needed: Samples of each group that it would take to show a difference of this size four times in
            five by itself; None where there is none.
    """

    samples: tuple[int, int]
    mean: float
    other: float
    difference: float
    low: float | None
    high: float | None
    effect_size: float | None
    p_value: float
    attainable: float
    needed: int | None


def group_tests(
    values: np.ndarray,
    in_group: Sequence[bool],
    strata: Sequence[str],
    *,
    tests: int | None = None,
    seed: int = 0,
) -> list[GroupTest]:
    """Test each column of values, all of them under the same shuffles.

    Args:
        values: ``[samples, tests]``.
        in_group: Which samples are in the group.
        strata: What each sample is compared within, e.g. its task. Strata that lie in one group say nothing.
        tests: By how many tests p-values will be adjusted, for ``needed``; the columns unless given.
        seed: Of the shuffles.
    """
    labels = np.asarray(in_group, dtype=float)
    _, places = np.unique(np.asarray(strata, dtype=str), return_inverse=True)
    sizes = np.bincount(places)
    members = np.bincount(places, weights=labels)
    weight = float(np.sum(members * (sizes - members) / sizes))
    attainable = _attainable(sizes, members)
    counts = int(labels.sum()), int((1 - labels).sum())
    if not weight or min(counts) < MIN_GROUP:
        return [_untested(column, labels, counts) for column in values.T]
    centred = _within(values, places, sizes)
    pull = labels - (members / sizes)[places]
    differences = pull @ centred / weight
    p_values = _shuffled_p(centred, labels, places, seed)
    residuals = centred - np.outer(pull, differences)
    degrees = max(1, len(labels) - len(sizes) - 1)
    leverage = np.clip(1 / sizes[places] + pull**2 / weight, 0, 1 - 1e-9)
    errors = np.sqrt(np.sum(residuals**2 / (1 - leverage)[:, None] * pull[:, None] ** 2, axis=0)) / weight
    spread = np.sqrt(np.sum(residuals**2, axis=0) / degrees)
    reach = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, degrees))
    many = values.shape[1] if tests is None else tests
    return [
        GroupTest(
            samples=counts,
            mean=float(column[labels == 1].mean()),
            other=float(column[labels == 0].mean()),
            difference=float(difference),
            low=float(difference - reach * error) if min(counts) > MIN_GROUP else None,
            high=float(difference + reach * error) if min(counts) > MIN_GROUP else None,
            effect_size=float(difference / deviation) if deviation > 0 else None,
            p_value=float(p_value),
            attainable=attainable,
            needed=_needed(float(difference), float(deviation), many),
        )
        for column, difference, error, deviation, p_value in zip(
            values.T, differences, errors, spread, p_values, strict=True
        )
    ]


def _untested(column: np.ndarray, labels: np.ndarray, counts: tuple[int, int]) -> GroupTest:
    inside, outside = column[labels == 1], column[labels == 0]
    mean = float(inside.mean()) if len(inside) else 0.0
    other = float(outside.mean()) if len(outside) else 0.0
    return GroupTest(counts, mean, other, mean - other, None, None, None, 1.0, 1.0, None)


def _within(values: np.ndarray, places: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Values less the mean of their stratum."""
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, places, values)
    centred: np.ndarray = values - (sums / sizes[:, None])[places]
    return centred


def _attainable(sizes: np.ndarray, members: np.ndarray) -> float:
    """One of all ways to put the labels, counted at both ends."""
    ways = 1
    for size, count in zip(sizes.astype(int), members.astype(int), strict=True):
        ways *= math.comb(int(size), int(count))
    return min(1.0, max(2 / ways, 2 / (_REFINED_RESAMPLES + 1)))


def _shuffled_p(centred: np.ndarray, labels: np.ndarray, places: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng((seed, len(labels)))
    found = _p_values(centred, labels, places, _RESAMPLES, generator)
    small = np.flatnonzero(found < _REFINED_BELOW)
    if len(small):
        # A second draw, not more of the first one: a p-value that chance made small gets no help from it.
        found[small] = _p_values(centred[:, small], labels, places, _REFINED_RESAMPLES, generator)
    return found


def _p_values(
    centred: np.ndarray,
    labels: np.ndarray,
    places: np.ndarray,
    resamples: int,
    generator: np.random.Generator,
) -> np.ndarray:
    sums = labels @ centred
    slack = 1e-12 * np.abs(centred).sum(axis=0)
    # The observed labels are one of the possible ones (Phipson and Smyth 2010).
    above, below = np.ones(len(sums)), np.ones(len(sums))
    strata = [np.flatnonzero(places == stratum) for stratum in range(int(places.max()) + 1)]
    for start in range(0, resamples, _BATCH):
        rows = min(_BATCH, resamples - start)
        shuffled = np.empty((rows, len(labels)))
        for own in strata:
            shuffled[:, own] = generator.permuted(np.tile(labels[own], (rows, 1)), axis=1)
        drawn = shuffled @ centred
        above += (drawn >= sums - slack).sum(axis=0)
        below += (drawn <= sums + slack).sum(axis=0)
    p_values: np.ndarray = np.minimum(1.0, 2 * np.minimum(above, below) / (resamples + 1))
    return p_values


def _needed(difference: float, spread: float, tests: int) -> int | None:
    """By the power of the two-sample z-test, at the level of one of so many tests."""
    if not difference or not spread:
        return None
    reach = scipy.stats.norm.ppf(1 - ALPHA / max(1, tests) / 2) + scipy.stats.norm.ppf(POWER)
    return math.ceil(float(2 * (reach * spread / difference) ** 2))


def group_size_needed(tests: int, families: int = 1) -> int:
    """How many samples of each group it takes until one of so many tests can be a finding by itself."""
    rate = ALPHA / families / max(1, tests)
    size = MIN_GROUP
    while 2 / math.comb(2 * size, size) > rate:
        size += 1
    return size
