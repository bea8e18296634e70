"""LIME over outcome distributions: what a coalition is worth is the distance that GiLOT measures."""

from __future__ import annotations

from typing import Any

import coalitions
import numpy as np
import pytest

from gilot_plugin.plugins.offers import attribution_methods
from tests.attribution import engine_calls
from tests.attribution.closeness import CLOSE_LOGPROBS
from tests.attribution.engine_calls import PROMPT, methods
from tests.baselines.contexts import SPANS, context_of


@pytest.mark.parametrize("distance", coalitions.DISTANCES)
def test_without_a_single_unit_it_is_the_attribution_s_own_distance(tiny_model: Any, distance: str) -> None:
    model = tiny_model("llama")
    context = context_of(model)
    found = coalitions.moved(distance, context, [(), *((unit,) for unit in context.units)])
    settings = {"hypotheses": "response", "steps": "mean", "num_beams": 4, "max_new_tokens": 5, "top_p": 0.99}
    expected = engine_calls.generation(model, PROMPT, SPANS, methods=methods(distance), **settings)
    np.testing.assert_allclose(found, [0.0, *(-np.array(expected.scores[distance]))], atol=CLOSE_LOGPROBS)


def test_lime_of_a_distance_ranks_by_what_goes_with_absence(tiny_model: Any) -> None:
    context = context_of(tiny_model("llama"))
    with coalitions.offered():
        offered = attribution_methods()
        scores = {name: offered[f"lime_{name}"].score(context) for name in coalitions.DISTANCES}
    assert not {"lime_ot", "lime_kl"} & set(attribution_methods())
    for found in scores.values():
        assert len(found) == len(context.units)
        assert np.ptp(found) > 0
    assert scores["ot"] != scores["kl"]
