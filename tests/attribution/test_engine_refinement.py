"""Adaptive units in the engine: the scores are those of the same units measured directly."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.attribution.prompt.tokens import make_prompt
from gilot_plugin.attribution.prompt.units import Refinement
from gilot_plugin.attribution.types import Segment
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution import engine_calls

TEXT = "The dog can fly. A bird can not!\nQuestion: is it so? Answer:"
ALL = engine_calls.methods("ot", "kl", "l2", "js", "tv", "logprob")
SIZES = {"num_beams": 3, "max_new_tokens": 2, "methods": ALL}


@pytest.fixture(scope="module")
def prompt(tiny_tokenizer):
    middle = TEXT.index("Question")
    segments = [Segment(0, middle, "few_shot"), Segment(middle, len(TEXT), "user")]
    return make_prompt(tiny_tokenizer, tiny_tokenizer(TEXT)["input_ids"], segments)


def attribute(model, prompt, units, target="generation", **settings):
    backend, recipe = TransformersBackend(model), engine_calls.recipe(**{**SIZES, **settings})
    execution = engine_calls.execution()
    if target == "choices":
        return engine_calls.attribute_choices(
            backend, prompt, units, [(5,), (44,), (99,)], ["a", "b", "c"], recipe, execution, gold=[1]
        )
    return engine_calls.attribute_generation(backend, prompt, units, recipe, str, str, execution)


@pytest.mark.parametrize(
    ("hypotheses", "steps", "target"),
    [
        ("regenerate", "last", "generation"),
        ("shared", "mean", "generation"),
        ("response", "last", "generation"),
        ("regenerate", "last", "choices"),
    ],
)
def test_scores_are_those_of_the_units(tiny_model, prompt, hypotheses, steps, target):
    model, modes = tiny_model("llama"), {"hypotheses": hypotheses, "steps": steps}
    found = attribute(model, prompt, Refinement("content", 10**6), target, **modes)
    assert found.coarse_units
    coarse = [known.unit for known in found.coarse_units]
    direct = attribute(model, prompt, [*found.units, *coarse], target, **modes)
    assert list(found.scores) == list(direct.scores)
    for name, values in direct.scores.items():
        refined = [*found.scores[name], *(known.scores[name] for known in found.coarse_units)]
        np.testing.assert_allclose(refined, values, rtol=1e-5, atol=1e-5, err_msg=name)
    assert len(found.diagnostics.support_size) == len(found.flows) == len(found.units)
    for hypothesis, same in zip(found.hypotheses, direct.hypotheses, strict=True):
        assert hypothesis.token_ids == same.token_ids


@pytest.mark.parametrize("hypotheses", ["regenerate", "shared", "response"])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_budget_is_kept(tiny_model, prompt, family, hypotheses):
    model = tiny_model(family)
    first = attribute(model, prompt, Refinement("content", 0), hypotheses=hypotheses)
    assert [unit.level for unit in first.units] == ["segment", "segment"]
    assert first.coarse_units == ()
    least = first.diagnostics.model_tokens
    full = attribute(model, prompt, Refinement("content", 10**6), hypotheses=hypotheses)
    for share in (0.2, 0.6):
        budget = round(least + share * (full.diagnostics.model_tokens - least))
        found = attribute(model, prompt, Refinement("content", budget), hypotheses=hypotheses)
        assert found.diagnostics.model_tokens <= budget
        assert len(first.units) < len(found.units) < len(full.units)
