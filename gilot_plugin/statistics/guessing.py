"""Right answers against those that guessing gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import scipy.signal
import scipy.stats


class GuessingTest(NamedTuple):
    """Whether more answers are right than guessing gives.

    Attributes:
        expected: Share that guessing gets right.
        p_value: One-sided, exact.
        attainable: Smallest p-value that so many questions can have.
    """

    expected: float
    p_value: float
    attainable: float


def guessing_test(right: int, choices: Sequence[int]) -> GuessingTest:
    """Test the number of right answers against independent guesses between each question's choices.

    Args:
        right: Number of right answers.
        choices: For each question, how many choices it has.
    """
    by_count = Counter(choices)
    parts = [scipy.stats.binom.pmf(np.arange(number + 1), number, 1 / k) for k, number in by_count.items()]
    chances = reduce(scipy.signal.convolve, parts)
    expected = sum(number / k for k, number in by_count.items()) / len(choices)
    p_value = float(np.clip(np.sum(chances[right:]), 0.0, 1.0))
    attainable = float(np.exp(-sum(number * np.log(k) for k, number in by_count.items())))
    return GuessingTest(expected, max(p_value, attainable), attainable)
