"""Many tests together: false discoveries, tests that could find nothing, samples that it would take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

#: Rate of false discoveries that all findings of one report together are held to.
ALPHA = 0.05


class Judgement(NamedTuple):
    """What a test comes to among the other ones of its family.

    Attributes:
        q_value: Its adjusted p-value; 1 where it was left out.
        level: P-value up to which it would have been a finding beside the others as they are; None where it
            was left out, because so few samples cannot have a p-value that small.
    """

    q_value: float
    level: float | None

    @property
    def is_finding(self) -> bool:
        """Whether it is more than chance."""
        return self.q_value <= ALPHA


def judge(p_values: Sequence[float], attainable: Sequence[float], families: int = 1) -> list[Judgement]:
    """Judge the tests of one family by Benjamini and Hochberg.

    Of the findings in all families, at most a share of :data:`ALPHA` is false on average; where nothing is
    there at all, that rate is the chance of any finding. Tests whose samples are too few to be a finding are
    left out before, so that they do not make it harder for the others (Tarone 1990, A modified Bonferroni
    method for discrete data; for false discoveries Gilbert 2005, Applied Statistics 54:143-158). Which ones
    these are depends on numbers of samples alone, never on what was observed.

    Args:
        p_values: One a test.
        attainable: Smallest p-value that each test can have.
        families: Number of families that are reported together; each has an equal part of the rate.
    """
    rate = ALPHA / families
    kept = taking_part(attainable, families)
    judged = [Judgement(1.0, None)] * len(p_values)
    if not kept:
        return judged
    own = np.array([p_values[place] for place in kept])
    q_values = np.minimum(1.0, families * scipy.stats.false_discovery_control(own))
    for number, place in enumerate(kept):
        judged[place] = Judgement(float(q_values[number]), _level(own, number, rate))
    return judged


def taking_part(attainable: Sequence[float], families: int = 1) -> list[int]:
    """Places of the tests that take part in the adjustment, from the p-values that they can have.

    Those that could be a finding alone, by Tarone's rule: the smallest k for which at most k tests can have a
    p-value of rate / k, and those. Where there are none, those that could be findings all together.
    """
    rate = ALPHA / families
    smallest = np.asarray(attainable, dtype=float)
    for count in range(1, len(smallest) + 1):
        able = np.flatnonzero(smallest <= rate / count)
        if len(able) <= count:
            break
    else:
        return []
    if not len(able):
        able = np.flatnonzero(smallest <= rate)
    return [int(place) for place in able]


def samples_needed(tests: int, families: int = 1, *, one_sided: bool = False) -> int:
    """How many pairs it takes until one of so many tests can be a finding by itself."""
    rate = ALPHA / families / max(1, tests)
    return math.ceil(-math.log2(rate)) + (0 if one_sided else 1)


def _level(p_values: np.ndarray, place: int, rate: float) -> float:
    """The threshold of Benjamini and Hochberg for one test, the others as they are."""
    others = np.delete(p_values, place)
    count = len(p_values)
    ranked = np.sort(np.append(others, 0.0))
    fulfilled = np.flatnonzero(ranked <= rate * np.arange(1, count + 1) / count)
    return float(rate * (fulfilled[-1] + 1) / count)
