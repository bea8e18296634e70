"""How far attributions are apart, in whatever direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.comparison.judging import ROUNDING, audit_q_values
from gilot_plugin.comparison.measures import Measures, dissimilarities
from gilot_plugin.comparison.pairs import Pair
from gilot_plugin.statistics import ALPHA, PairedTest, paired_test


class Change(NamedTuple):
    """How far the attributions of one document are apart, on average.

    Attributes:
        name: Field of :class:`gilot_plugin.comparison.measures.Measures`, as a dissimilarity.
        mean: Between the base run and the other one.
        noise: Between the base run and its repetitions; None without any.
        test: Of whether the first exceeds the second; None without repetitions.
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
        return (
            self.q_value is not None and self.q_value <= ALPHA and self.mean > (self.noise or 0.0) + ROUNDING
        )


def measure_changes(
    pairs: Sequence[Pair],
    measures: Sequence[Measures],
    repeated: Sequence[Sequence[Pair]],
    noise_measures: Sequence[Sequence[Measures]],
    seed: int,
) -> tuple[Change, ...]:
    """Compare the measures of the pairs with those of the base run's repetitions."""
    own = dissimilarities(measures)
    noise = [
        {
            name: dict(zip((pair.base.key for pair in found), values, strict=True))
            for name, values in dissimilarities(measured).items()
        }
        for found, measured in zip(repeated, noise_measures, strict=True)
    ]
    tests: dict[str, PairedTest] = {}
    means: dict[str, float] = {}
    for name, values in own.items():
        both = [
            (value, float(np.mean(again)))
            for pair, value in zip(pairs, values, strict=True)
            if (again := [run[name][pair.base.key] for run in noise if pair.base.key in run[name]])
        ]
        if both:
            tests[name] = paired_test(np.array([a - b for a, b in both]), one_sided=True, seed=seed)
            means[name] = float(np.mean([b for _, b in both]))
    q_values = dict(zip(tests, audit_q_values([test.p_value for test in tests.values()]), strict=True))
    return tuple(
        Change(name, float(values.mean()), means.get(name), tests.get(name), q_values.get(name))
        for name, values in own.items()
    )
