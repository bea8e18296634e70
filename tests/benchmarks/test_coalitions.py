"""LIME over outcome distributions: what a coalition is worth is the distance that GiLOT measures."""

from __future__ import annotations

from typing import Any

import coalitions
import numpy as np

from gilot_plugin.plugins.offers import attribution_methods
from tests.baselines.contexts import context_of


def test_lime_of_a_distance_ranks_by_what_goes_with_absence(tiny_model: Any) -> None:
    context = context_of(tiny_model("llama"))
    with coalitions.offered():
        offered = attribution_methods()
        scores = {name: offered[f"lime_{name}"].score(context) for name in ("ot", "kl")}
    assert not {"lime_ot", "lime_kl"} & set(attribution_methods())
    for found in scores.values():
        assert len(found) == len(context.units)
        assert np.ptp(found) > 0
    assert scores["ot"] != scores["kl"]
