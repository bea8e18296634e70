"""Perturbation methods against exact Shapley values, additive games and the distance ``logprob``."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.builtins import LOGPROB
from gilot_plugin.attribution.schemes.readings import usual_coalitions
from gilot_plugin.baselines.perturbation import feature_ablation, kernel_shap, lime, shapley_sampling
from tests.attribution import engine_calls
from tests.attribution.altered_models import read_last_token_only
from tests.attribution.closeness import CLOSE_LOGPROBS
from tests.attribution.engine_calls import PROMPT, methods
from tests.baselines.contexts import CHOICES, SPANS, Game, context_of, table_game

EVERY_METHOD = (feature_ablation, lime, kernel_shap, shapley_sampling)


def shapley_values(table):
    """By definition: mean gain of each unit over all orders, by sizes of what came before."""
    units = len(next(iter(table)))
    values = np.zeros(units)
    for unit in range(units):
        for present, value in table.items():
            if not present[unit]:
                size = sum(present)
                weight = math.factorial(size) * math.factorial(units - size - 1) / math.factorial(units)
                joined = tuple(1 if place == unit else there for place, there in enumerate(present))
                values[unit] += weight * (table[joined] - value)
    return values


@pytest.mark.parametrize("units", [1, 2, 5, 6])
def test_kernel_shap_of_few_units_is_exact(units):
    game, table = table_game(units)
    np.testing.assert_allclose(kernel_shap(game.context), shapley_values(table), atol=1e-4)
    # Every coalition, the full prompt among them.
    assert {len(set(rows)) for rows in game.asked if len(rows) > 1} == {2**units}


@pytest.mark.parametrize("method", [kernel_shap, shapley_sampling])
def test_drawn_shapley_values_converge(method):
    game, table = table_game(10)
    exact = shapley_values(table)
    # Fewer coalitions than there are, so that kernel SHAP draws.
    few, many = (40, 1000) if method is kernel_shap else (8, 400)
    errors = [np.abs(method(game.context, count) - exact).max() for count in (few, many)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.5


@pytest.mark.parametrize("units", [1, 3, 9, 20])
@pytest.mark.parametrize("method", [feature_ablation, kernel_shap, shapley_sampling])
def test_coefficients_of_an_additive_game(method, units):
    effects = np.random.default_rng(units).normal(0, 5, units)
    game = Game(lambda present: present @ effects - 40, units)
    np.testing.assert_allclose(method(game.context), effects, atol=2e-3)


@pytest.mark.parametrize("units", [1, 3, 9, 20])
def test_lime_shrinks_coefficients_of_an_additive_game_and_keeps_their_order(units):
    effects = np.linspace(-5, 5, units) if units > 1 else np.array([4.0])
    np.random.default_rng(units).shuffle(effects)
    found = np.array(lime(Game(lambda present: present @ effects - 40, units).context))
    assert (found.argsort() == effects.argsort()).all()
    np.testing.assert_allclose(found, effects, atol=1.0)
    assert np.abs(found).sum() <= np.abs(effects).sum()


def test_lime_weighs_what_is_like_the_prompt_more():
    """Where only the last few units that go matter, coefficients are below those of an even regression."""
    units, sizes = 8, np.arange(9)
    game = Game(lambda present: float(present.sum() >= 4), units)
    counts = np.array([math.comb(units, size) for size in sizes])
    even = np.polyfit(sizes, sizes >= 4, 1, w=np.sqrt(counts))[0]
    assert 0 < np.mean(lime(game.context, 1000)) < 0.95 * even


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_nearly_all_coalitions_are_asked_for_at_once(method):
    """So that they go through the model in full batches; a game keeps what it was asked."""
    game, _ = table_game(9)
    method(game.context)
    known = {(False,) * 9}
    new = []
    for rows in game.asked:
        new.append(len(set(rows) - known))
        known |= set(rows)
    assert sum(new) <= usual_coalitions(9) + 9 + 2
    assert sum(sorted(new)[:-1]) <= 1


@pytest.mark.parametrize(("units", "count"), [(1, 72), (10, 144), (100, 864), (248, 2048), (2000, 4000)])
def test_draws_grow_with_units(units, count):
    assert usual_coalitions(units) == count


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_global_generators_are_neither_used_nor_moved(method):
    game, _ = table_game(8)
    torch.manual_seed(1)
    random.seed(1)
    first = method(game.context)
    torch.manual_seed(2)
    random.seed(2)
    before = (torch.random.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002
    assert method(game.context) == first
    after = (torch.random.get_rng_state(), random.getstate(), np.random.get_state())  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert all(np.array_equal(*pair) for pair in zip(before[2], after[2], strict=True))


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma2"])
@pytest.mark.parametrize("continuations", [None, CHOICES], ids=["generation", "choices"])
def test_feature_ablation_is_the_leave_one_out_logprob(tiny_model, family, continuations):
    model = tiny_model(family)
    found = feature_ablation(context_of(model, choices=continuations))
    if continuations is None:
        expected = engine_calls.generation(model, PROMPT, SPANS, methods=methods("logprob")).scores["logprob"]
    else:
        context = context_of(model, choices=continuations)
        answer = context.game.answer
        assert answer.token_ids in continuations
        # Among the choices, not the log-likelihood of one of them alone.
        full = np.log(_shares(model)[answer.chosen])
        assert context.game.full.logprobs[0, answer.chosen] == pytest.approx(full, abs=CLOSE_LOGPROBS)
        without = [_shares(model, _without(span))[answer.chosen] for span in SPANS]
        expected = full - np.log(without)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2 * CLOSE_LOGPROBS)


def _without(span):
    return [*PROMPT[: span[0]], *PROMPT[span[1] :]]


def _shares(model, prompt=PROMPT):
    attribution = engine_calls.choices(model, prompt, SPANS[:1], CHOICES)
    return [choice.probability for choice in attribution.choices]


@pytest.mark.parametrize("absence", ["delete", "mask", "replace"])
@pytest.mark.parametrize("family", ["llama"])
def test_shapley_values_of_a_model(tiny_model, family, absence):
    """Kernel SHAP is exact here, and sampling many orders comes close; absences give different games."""
    settings = {"absence": absence, "batch_size": 32, "max_new_tokens": 1}
    if absence == "replace":
        settings["replace_with"] = 41
    context = context_of(tiny_model(family), **settings)
    table = {}
    for present in np.ndindex(*(2,) * len(SPANS)):
        absent = tuple(unit for unit, there in zip(context.units, present, strict=True) if not there)
        table[present] = -context.game.values([absent], [LOGPROB]).means("logprob")[0]
    exact = shapley_values(table)
    np.testing.assert_allclose(kernel_shap(context), exact, atol=1e-3)
    scale = np.ptp(list(table.values()))
    np.testing.assert_allclose(shapley_sampling(context, 150), exact, atol=0.1 * scale)
    assert sum(exact) == pytest.approx(table[(1,) * len(SPANS)] - table[(0,) * len(SPANS)])


@pytest.mark.parametrize("continuations", [None, CHOICES], ids=["generation", "choices"])
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_units_that_the_model_ignores_score_0(make_tiny_model, method, continuations):
    # Deleted, the last token would hand its part to the one before it.
    context = context_of(
        read_last_token_only(make_tiny_model("llama")),
        spans=[*SPANS, (13, 14)],
        choices=continuations,
        absence="replace",
        replace_with=41,
    )
    *ignored, last = method(context)
    assert abs(last) > 0.1
    # The ridge of LIME spreads what it shrinks.
    np.testing.assert_allclose(ignored, 0, atol=0.05 * abs(last) if method is lime else 1e-4)


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_batch_size_does_not_matter(tiny_model, method):
    one, many = (method(context_of(tiny_model("qwen2"), batch_size=size)) for size in (3, None))
    np.testing.assert_allclose(one, many, rtol=1e-4, atol=1e-3)


def test_seeds_give_other_draws(tiny_model):
    zero, again, other = (
        shapley_sampling(context_of(tiny_model("llama"), seed=seed), 3) for seed in (0, 0, 1)
    )
    assert zero == again
    assert zero != other
