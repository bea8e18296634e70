from __future__ import annotations

import pytest

from gilot_plugin.comparison.changes import Change
from gilot_plugin.comparison.shifts import Shift
from gilot_plugin.comparison.verdict import (
    change_words,
    q_cell,
    q_words,
    share_words,
    shift_words,
)
from gilot_plugin.statistics.paired import PairedTest

TEST = PairedTest(24, -0.25, low=-0.3, high=-0.2, effect_size=-1.0, p_value=0.001, attainable=1e-6, floor=0.0)


@pytest.mark.parametrize(
    ("value", "words", "cell"),
    [(1e-9, "q < 0.001", "<0.001"), (0.0494, "q = 0.049", "0.049"), (1.0, "q = 1", "1")],
)
def test_adjusted_p_values(value: float, words: str, cell: str) -> None:
    assert (q_words(value), q_cell(value)) == (words, cell)


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0.0%"), (6e-6, "less than 0.1%"), (0.0006, "0.1%"), (0.805, "80.5%"), (1.0, "100.0%")],
)
def test_no_share_but_nothing_is_called_nothing(share: float, words: str) -> None:
    assert share_words(share) == words


@pytest.mark.parametrize(
    ("task", "of_what"), [(None, "The word 'good'"), ("films", "films: the part 'good'")]
)
def test_shifts(task: str | None, of_what: str) -> None:
    shift = Shift(task, "good", 0.75, 0.5, TEST, 0.02, 0.1)
    assert shift_words(shift) == (
        f"{of_what} weighs less: 75.0% of the attribution before, 50.0% after (mean of 24 samples, q = 0.02)."
    )


def test_changes() -> None:
    moved = Change("moved", 0.5, 1e-6, TEST, 1e-5)
    assert change_words(moved) == (
        "share of the attribution that lies elsewhere: 50.0%, less than 0.1% between repeated base runs "
        "(q < 0.001)."
    )
    assert change_words(Change("rank_change", 0.781, None, None, None)) == (
        "1 minus the rank correlation of the scores: 0.78."
    )
