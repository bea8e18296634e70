"""What it takes for a change to count as a finding of an audit."""

from __future__ import annotations

from collections.abc import Sequence

from gilot_plugin.statistics.families import Judgement, judge, samples_needed
from gilot_plugin.statistics.paired import PairedTest

#: Families of tests in an audit, each with an equal part of the rate of false discoveries: segments, words,
#: changes, flips.
FAMILIES = 4

#: Shifts up to this are rounding, whatever the noise runs say.
ROUNDING = 1e-3


def judge_tests(tests: Sequence[PairedTest]) -> list[Judgement]:
    """Judge the tests of one of the audit's families, beside each other and the other families."""
    return judge([test.p_value for test in tests], [test.attainable for test in tests], FAMILIES)


def judge_p_values(p_values: Sequence[float], attainable: Sequence[float]) -> list[Judgement]:
    """The same of other tests, from their p-values and the smallest ones that they can have."""
    return judge(p_values, attainable, FAMILIES)


def pairs_needed(tests: int) -> int:
    """How many pairs it takes until one of so many tests of a family can be a finding by itself."""
    return samples_needed(tests, FAMILIES)
