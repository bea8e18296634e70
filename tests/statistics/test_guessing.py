"""Right answers against guessing, against counting by hand."""

from __future__ import annotations

from itertools import product

import pytest

from gilot_plugin.statistics.guessing import guessing_test


def test_every_way_to_guess_is_counted() -> None:
    choices = [2, 3, 3, 4]
    for right in range(5):
        ways = [sum(answer == 0 for answer in answers) >= right for answers in product(*map(range, choices))]
        found = guessing_test(right, choices)
        assert found.p_value == pytest.approx(sum(ways) / len(ways))
        assert found.expected == pytest.approx((1 / 2 + 1 / 3 + 1 / 3 + 1 / 4) / 4)
        assert found.attainable == pytest.approx(1 / (2 * 3 * 3 * 4))
