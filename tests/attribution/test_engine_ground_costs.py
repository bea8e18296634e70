"""The engine with every ground cost against the plain serial computation."""

from __future__ import annotations

import pytest
import torch

from gilot_plugin.attribution.distance.ground_costs import ground_cost
from tests.attribution import engine_calls, serial
from tests.attribution.altered_models import read_last_token_only
from tests.attribution.closeness import assert_close
from tests.attribution.engine_calls import EVERY_TOKEN, PROMPT, SPANS

CHOICES = [(5, 6, 7, 8), (44,), (91, 12), (100, 101, 102, 3, 4, 9)]

every_cost = pytest.mark.parametrize("name", ["cosine", "centered", "output", "angular", "truncated"])


@pytest.fixture(params=["llama", "gpt2"])
def untied(request, make_tiny_model):
    """A model whose input and output embeddings differ, the input ones by far alike."""
    model = make_tiny_model(request.param, tie_word_embeddings=False)
    with torch.no_grad():
        model.get_input_embeddings().weight.add_(0.5)
    return model


@every_cost
@pytest.mark.parametrize(
    "modes", [{}, {"hypotheses": "shared", "steps": "mean"}, {"hypotheses": "response"}], ids=str
)
def test_generation(untied, name, modes):
    attribution = engine_calls.generation(untied, PROMPT, SPANS, ground_cost=ground_cost(name), **modes)
    assert_close(attribution, serial.scores(untied, PROMPT, SPANS, ground_cost=name, **modes))


@every_cost
def test_choices(untied, name):
    attribution = engine_calls.choices(untied, PROMPT, SPANS, CHOICES, ground_cost=ground_cost(name))
    *_, expected = serial.choice_scores(untied, PROMPT, SPANS, CHOICES, ground_cost=name)
    assert_close(attribution, expected)


def test_every_ground_cost_gives_other_scores(untied):
    found = [
        engine_calls.generation(untied, PROMPT, SPANS, ground_cost=ground_cost(name)).scores["ot"]
        for name in ("cosine", "centered", "output", "angular", "truncated")
    ]
    assert len({tuple(round(score, 3) for score in scores) for scores in found}) == len(found)


@every_cost
def test_unit_that_the_model_ignores_scores_0(make_tiny_model, name):
    model = read_last_token_only(make_tiny_model("llama"))
    given = {"ground_cost": ground_cost(name)}
    attribution = engine_calls.generation(model, PROMPT, EVERY_TOKEN, **given)
    *ignored, read = attribution.scores["ot"]
    assert max(ignored) < 1e-6
    assert read > 0.05
    choices = engine_calls.choices(model, PROMPT, EVERY_TOKEN[:-1], CHOICES, **given)
    assert max(choices.scores["ot"]) < 1e-6


@every_cost
@pytest.mark.parametrize("solver", ["exact", "sinkhorn"])
@pytest.mark.parametrize("top_k", [3, 40])
def test_bounds_hold_over_the_whole_vocabulary(untied, name, solver, top_k):
    ground = ground_cost(name)
    whole = serial.scores(untied, PROMPT, SPANS, ground_cost=name)
    attribution = engine_calls.generation(
        untied, PROMPT, SPANS, ground_cost=ground, solver=solver, top_k=top_k
    )
    for (lower, upper), scores in zip(attribution.diagnostics.transport_bounds, whole, strict=True):
        # The serial computation leaves out 0.0001 of the mass itself.
        assert lower - 2e-4 * ground.largest <= scores.ot <= upper + 2e-4 * ground.largest
        assert lower >= 0.0
