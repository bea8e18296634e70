"""The model-randomisation test: an attribution that stays the same without training explains no model.

Adebayo et al. 2018, Sanity Checks for Saliency Maps, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from gilot_plugin.artifacts.faithfulness import Randomization, Resemblance
from gilot_plugin.faithfulness.controls import FIRST_TO_LAST, RANDOM, sample_seed
from gilot_plugin.faithfulness.curves import SampleKey
from gilot_plugin.faithfulness.summary import interval_of
from gilot_plugin.statistics.families import ALPHA, judge
from gilot_plugin.statistics.paired import PairedTest, paired_test

#: What the mean rank correlation has to be below, by more than chance. A correlation of 0.5 means that a
#: quarter of the variance of the ranks (its square) is there without any training. Attributions of the same
#: model have 1, independent ones 0 with a deviation of 1 / sqrt(units - 1) a sample; an untrained network
#: still has its architecture, so that a correlation somewhat above 0 says nothing against a method.
THRESHOLD = 0.5

#: Fewer units have too few orders to be compared.
MIN_UNITS = 3

#: Below it, what a rank correlation of +-1 leaves unexplained is an error of rounding.
_ROUNDING = 1e-12

Scores = Mapping[str, Sequence[float]]

#: Scores of the same units by the model and by random weights.
_Pair = tuple[Sequence[float], Sequence[float]]


class Twin(NamedTuple):
    """Attributions of one sample by the model and by the same model with random weights.

    Attributes:
        key: Which sample.
        trained: For each method, one number a unit.
        random: The same with random weights.
    """

    key: SampleKey
    trained: Scores
    random: Scores


def compare_with_random_weights(
    twins: Iterable[Twin], methods: Sequence[str], weights_seed: int, seed: int = 0
) -> Randomization:
    """Say of each method whether its attributions hang on what the model learnt.

    Two controls go the same way: the order of the prompt knows no model and has a correlation of 1, so it
    fails; random scores have a correlation of 0 and pass, so that passing alone shows nothing.

    Args:
        twins: One a sample; those with fewer than :data:`MIN_UNITS` units are left out.
        methods: Attribution methods, in the order to show.
        weights_seed: Of the random weights.
        seed: Of the random scores and of the resampling.
    """
    wide = sorted(twin for twin in twins if _units(twin) >= MIN_UNITS)
    compared = {
        method: [
            (twin.trained[method], twin.random[method])
            for twin in wide
            if method in twin.trained and method in twin.random
        ]
        for method in methods
    }
    drawn = []
    for twin in wide:
        one, other = np.random.default_rng(sample_seed(seed, twin.key)).random((2, _units(twin)))
        drawn.append((one.tolist(), other.tolist()))
    controls: dict[str, list[_Pair]] = {
        FIRST_TO_LAST.name: [(range(_units(twin)), range(_units(twin))) for twin in wide],
        RANDOM.name: drawn,
    }
    found = list(_resemblances(compared, seed))
    # Each control by itself: what is known beforehand must not make it easier for a method.
    for name, pairs in controls.items():
        found += _resemblances({name: pairs}, seed, is_control=True)
    return Randomization(seed=weights_seed, threshold=THRESHOLD, methods=tuple(found))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation; 0 where the other has no order, None where the one has none."""
    if np.ptp(one) == 0:
        return None
    if np.ptp(other) == 0:
        return 0.0
    return float(scipy.stats.spearmanr(one, other).statistic)


def partial_rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's rank correlation with the order of the units partialled out.

    0 where the other has no order of its own, None where nothing of one of them is left without that order.
    """
    together = rank_correlation(one, other)
    if together is None or np.ptp(other) == 0:
        return together
    order = range(len(one))
    by_order, others = (scipy.stats.spearmanr(scores, order).statistic for scores in (one, other))
    left = (1 - by_order**2) * (1 - others**2)
    return None if left < _ROUNDING else float((together - by_order * others) / np.sqrt(left))


def _resemblances(
    compared: Mapping[str, Sequence[_Pair]], seed: int, *, is_control: bool = False
) -> Iterator[Resemblance]:
    """Of each method that has correlations, one family of tests."""
    correlations = {
        name: np.array([value for pair in pairs if (value := rank_correlation(*pair)) is not None])
        for name, pairs in compared.items()
    }
    known = {name: values for name, values in correlations.items() if len(values)}
    tests = [_below_threshold(values, seed) for values in known.values()]
    judged = judge([test.p_value for test in tests], [test.attainable for test in tests])
    for (name, values), judgement in zip(known.items(), judged, strict=True):
        apart = [value for pair in compared[name] if (value := partial_rank_correlation(*pair)) is not None]
        yield Resemblance(
            method=name,
            is_control=is_control,
            samples=len(values),
            correlation=interval_of(values),
            passes=judgement.q_value <= ALPHA,
            p_value=judgement.q_value,
            apart_from_order=interval_of(apart) if apart else None,
        )


def _below_threshold(correlations: np.ndarray, seed: int) -> PairedTest:
    return paired_test(THRESHOLD - correlations, one_sided=True, seed=seed)


def _units(twin: Twin) -> int:
    return len(next(iter(twin.trained.values()), ()))
