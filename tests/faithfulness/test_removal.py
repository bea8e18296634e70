from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gilot_plugin.faithfulness.curves import FRACTIONS
from gilot_plugin.faithfulness.removal import removals_of, removed_counts

permutations = st.integers(1, 60).flatmap(lambda count: st.permutations(range(count)))


@pytest.mark.parametrize(
    ("units", "counts"),
    [
        (1, (0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1)),
        (3, (0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3)),
        (5, (0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5)),
        (10, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10)),
    ],
)
def test_counts_by_hand(units: int, counts: tuple[int, ...]) -> None:
    assert removed_counts(units) == counts


@given(st.integers(1, 5000))
def test_counts_are_the_nearest(units: int) -> None:
    for fraction, count in zip(FRACTIONS, removed_counts(units), strict=True):
        exact = Fraction(fraction).limit_denominator(10) * units
        assert abs(count - exact) <= Fraction(1, 2)


@given(permutations)
def test_what_is_removed_grows_along_the_ranking(order: list[int]) -> None:
    removals = removals_of(tuple(order))
    for count, morf, lerf in zip(removed_counts(len(order)), *removals, strict=True):
        assert set(morf) == set(order[:count])
        assert set(lerf) == set(order[::-1][:count])
        assert (len(morf), len(lerf)) == (count, count)
    assert removals.morf[-1] == removals.lerf[-1] == tuple(range(len(order)))


@given(permutations)
def test_a_reversed_ranking_changes_the_ends(order: list[int]) -> None:
    there, back = removals_of(tuple(order)), removals_of(tuple(order[::-1]))
    assert (there.morf, there.lerf) == (back.lerf, back.morf)


@pytest.mark.parametrize("ranking", [(0, 0), (1, 2), (0, 2)])
def test_what_is_no_ranking_is_refused(ranking: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="once"):
        removals_of(ranking)
