"""How far attributions are apart, in whatever direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.comparison.judging import ROUNDING, judge_tests
from gilot_plugin.comparison.measures import Measures, dissimilarities
from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.statistics.paired import PairedTest, paired_tests


class Change(NamedTuple):
    """How far the attributions of one document are apart, on average.

    Attributes:
        name: Field of :class:`gilot_plugin.comparison.measures.Measures`, as a dissimilarity.
        mean: Between the base run and the other one.
        noise: Between the base run and its repetitions; None without any.
        test: Of whether the first exceeds the second by more than rounding; None without repetitions.
        q_value: Its p-value, adjusted for all such changes; None without repetitions.
    """

    name: str
    mean: float
    noise: float | None
    test: PairedTest | None
    q_value: float | None

    @property
    def is_finding(self) -> bool:
        """Whether it is more than what repeating the base run changes."""
        return self.q_value is not None and self.q_value <= ALPHA


def measure_changes(
    measures: Sequence[Measures], noise: Sequence[Sequence[Measures]], seed: int
) -> tuple[Change, ...]:
    """Compare the measures of the pairs with those of the base run's repetitions.

    Args:
        measures: Of the base run with the other one.
        noise: Of the base run with each repetition, for the same documents in the same order.
        seed: Of the resampling.
    """
    own = dissimilarities(measures)
    if not noise:
        return tuple(Change(name, float(values.mean()), None, None, None) for name, values in own.items())
    again = [dissimilarities(repeated) for repeated in noise]
    means = {name: np.mean([found[name] for found in again], axis=0) for name in own}
    tests = paired_tests(
        [values - means[name] for name, values in own.items()],
        [ROUNDING] * len(own),
        one_sided=True,
        seed=seed,
    )
    return tuple(
        Change(name, float(values.mean()), float(means[name].mean()), test, judged.q_value)
        for (name, values), test, judged in zip(own.items(), tests, judge_tests(tests), strict=True)
    )
