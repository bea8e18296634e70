import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc

from gilot_plugin.faithfulness.curves import FRACTIONS, Curves
from gilot_plugin.faithfulness.ranked import ranking_of
from gilot_plugin.faithfulness.removal import removals_of
from tests.faithfulness.golden.stand_in import logit

values = st.lists(st.floats(-10, 10), min_size=11, max_size=11).map(tuple)


def test_numbers_by_hand() -> None:
    # Trapezoids of width 0.1: half of the first and last values, and all between.
    morf = (1.0, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0)
    lerf = (1.0, 1.0, 0.9, 0.9, 0.9, 0.8, 0.8, 0.6, 0.5, 0.1, 0.0)
    curves = Curves(morf, lerf)
    # (0.5 + 6.5 + 0) / 10 - (0.5 + 2.0 + 0) / 10
    assert curves.area == pytest.approx(0.45)
    # Mean drop: (10 - 2.0) / 10 and (10 - 6.5) / 10.
    assert curves.comprehensiveness == pytest.approx(0.8)
    assert curves.sufficiency == pytest.approx(0.35)
    rising = Curves(tuple(1 - value for value in morf), tuple(1 - value for value in lerf), falls=False)
    assert rising.area == pytest.approx(curves.area)
    assert rising.comprehensiveness == pytest.approx(curves.comprehensiveness)
    assert rising.sufficiency == pytest.approx(curves.sufficiency)


@given(values, values)
def test_the_area_is_that_of_another_library(morf: tuple[float, ...], lerf: tuple[float, ...]) -> None:
    expected = auc(np.array(FRACTIONS), lerf) - auc(np.array(FRACTIONS), morf)
    assert Curves(morf, lerf).area == pytest.approx(expected, abs=1e-9)


@given(values, values, st.booleans())
def test_mirrored_curves_have_the_opposite_area(
    morf: tuple[float, ...], lerf: tuple[float, ...], falls: bool
) -> None:
    curves = Curves(morf, lerf, falls)
    assert curves.mirrored.area == -curves.area
    assert curves.mirrored.mirrored == curves


@given(values, st.integers(0, 10), st.floats(0.01, 5))
def test_a_sooner_fall_is_better(lerf: tuple[float, ...], place: int, drop: float) -> None:
    lower = tuple(value - drop * (index == place) for index, value in enumerate(lerf))
    assert Curves(lower, lerf).area > Curves(lerf, lerf).area == 0
    assert Curves(lerf, lower, falls=False).area > 0


def test_a_flat_curve_has_no_area() -> None:
    flat = Curves((0.7,) * 11, (0.7,) * 11)
    assert (flat.area, flat.comprehensiveness, flat.sufficiency) == (0, 0, 0)


FERRET = json.loads((Path(__file__).parent / "golden" / "ferret_metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", FERRET, ids=lambda case: f"{len(case['words'])}-{case['scores'][0]:.2f}")
def test_comprehensiveness_and_sufficiency_are_those_of_another_library(case: dict[str, Any]) -> None:
    """ferret 0.4.2 (Attanasio et al. 2023), for the same stand-in of a model."""
    words = case["words"]
    removals = removals_of(ranking_of(case["scores"], seed=0))

    def probability_without(removed: tuple[int, ...]) -> float:
        return 1 / (1 + math.exp(-logit([word for place, word in enumerate(words) if place not in removed])))

    curves = Curves(
        tuple(map(probability_without, removals.morf)), tuple(map(probability_without, removals.lerf))
    )
    assert curves.comprehensiveness == pytest.approx(case["comprehensiveness"], abs=1e-12)
    # ferret keeps 10 to 100 % of the words, we keep 90 to 0 %: its last prompt is whole, ours is empty.
    steps = len(FRACTIONS) - 1
    emptied = (probability_without(()) - probability_without(tuple(range(len(words))))) / steps
    assert curves.sufficiency - emptied == pytest.approx(case["sufficiency"], abs=1e-12)
