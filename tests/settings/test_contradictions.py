"""Settings that are right by themselves: which of them go together."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gilot_plugin.errors import ConfigError
from gilot_plugin.settings.config import GilotConfig

#: Settings that contradict each other, and the reason that is given.
CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"absence": "replace"}, "absence='replace' needs replace_with: a token id, or the text"),
    ({"replace_with": 5}, "replace_with=5 has no effect with absence='delete'"),
    (
        {"preset": "reference", "target": "choices"},
        "target='choices' cannot be combined with absence='published'",
    ),
    (
        {"preset": "reference", "hypotheses": "shared"},
        "hypotheses='shared' cannot be combined with absence='published'",
    ),
    (
        {"absence": "published", "hypotheses": "response"},
        "hypotheses='response' cannot be combined with absence='published'",
    ),
    ({"absence": "published", "steps": "mean"}, "steps='mean' cannot be combined with absence='published'"),
    (
        {"target": "choices", "hypotheses": "shared"},
        "hypotheses='shared' has no effect with target='choices'",
    ),
    ({"target": "choices", "steps": "last"}, "steps='last' has no effect with target='choices'"),
    (
        {"preset": "paper", "target": "choices", "steps": "mean"},
        "steps='mean' has no effect with target='choices'",
    ),
    (
        {"target": "generation", "choice_scoring": "norm"},
        "choice_scoring='norm' has no effect with target='generation'",
    ),
    ({"cost_limit": 0.3}, "cost_limit=0.3 has no effect with ground_cost='cosine'"),
    (
        {"ground_cost": "angular", "cost_limit": 0.3},
        "cost_limit=0.3 has no effect with ground_cost='angular'",
    ),
    ({"unit_budget": 1000}, "unit_budget=1000 has no effect with units='word'"),
    ({"coalitions": 20}, "coalitions=20 has no effect with scheme='leave_one_out', which reads every unit"),
    (
        {"scheme": "leave_one_out", "token_budget": 9},
        "token_budget=9 has no effect with scheme='leave_one_out'",
    ),
    (
        {"scheme": "auto", "methods": ["random"]},
        "scheme='auto' has no effect on random, which have",
    ),
    (
        {"solver": "exact", "transport_tolerance": 0.01},
        "transport_tolerance=0.01 has no effect with solver='exact'",
    ),
    (
        {"solver": "ipot", "transport_tolerance": 0.01},
        "transport_tolerance=0.01 has no effect with solver='ipot'",
    ),
]


@pytest.mark.parametrize(("settings", "reason"), CONTRADICTIONS)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        GilotConfig(**settings)


def test_all_contradictions_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        GilotConfig(replace_with=5, unit_budget=3, target="choices", steps="last")
    told = str(refusal.value)
    assert all(name in told for name in ("replace_with=5", "unit_budget=3", "steps='last'"))


@pytest.mark.parametrize(
    "settings",
    [
        {"hypotheses": "shared", "steps": "mean", "absence": "mask"},
        {"hypotheses": "response", "steps": "mean", "methods": ["logprob"]},
        {"target": "choices", "choice_scoring": "norm", "units": "auto", "unit_budget": 10},
        {"solver": "sinkhorn", "transport_tolerance": 0.01},
        {"absence": "published", "hypotheses": "regenerate", "steps": "last", "solver": "exact"},
        {"ground_cost": "truncated", "cost_limit": 0.3},
        {"scheme": "shapley", "coalitions": 64, "token_budget": 10**6},
        {"scheme": "auto", "methods": ["random", "logprob"]},
        {"preset": "reference", "ground_cost": "centered"},
        {"preset": "paper", "target": "choices"},
    ],
)
def test_settings_that_go_together_are_taken(settings: dict[str, Any]) -> None:
    config = GilotConfig(**settings)
    assert config.model_fields_set >= set(settings)
