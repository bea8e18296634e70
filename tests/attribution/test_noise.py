"""The noise floor: how much scores move in other batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.engine import attribute
from gilot_plugin.attribution.games import generation_game
from gilot_plugin.attribution.noise import Remeasured, noise_floor, remeasure
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution.engine_calls import execution, prompt_of, recipe, units_at

SETTINGS = {"hypotheses": "response", "steps": "mean", "max_new_tokens": 2, "top_k": 60}
DISTANCES = ("ot", "kl", "l2")


def prompts(count, length=14):
    generator = np.random.default_rng(7)
    return [tuple(generator.integers(3, 300, size=length).tolist()) for _ in range(count)]


def explained(backend, token_ids, batch_size=8):
    prompt = prompt_of(token_ids)
    units = units_at(prompt, [(place, place + 1) for place in range(len(token_ids))])
    game = generation_game(
        backend, prompt, units, recipe(**SETTINGS), str, str, execution(batch_size=batch_size)
    )
    return game, attribute(backend, game)


def floor_of(backend, some):
    return noise_floor([remeasure(*explained(backend, ids)) for ids in some])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_it_bounds_what_another_batch_size_does_on_other_prompts(make_tiny_model, family):
    backend = TransformersBackend(make_tiny_model(family).to(torch.bfloat16))
    floor = floor_of(backend, prompts(3))
    assert floor.measured == 18
    scores = [[explained(backend, ids, size)[1].scores for size in (8, 3)] for ids in prompts(7)[3:]]
    for name in DISTANCES:
        moved = np.concatenate([np.abs(np.subtract(one[name], other[name])) for one, other in scores])
        assert floor.scores[name] > 0.0
        # One in 19 deviates more, if all are alike; those of one prompt are more so than those of another.
        assert np.mean(moved > floor.scores[name]) < 0.15, name
        # And it is no number that bounds anything.
        assert floor.scores[name] < 20 * np.quantile(moved, 0.95), name


def test_single_precision_moves_by_less_than_a_hundred_thousandth(tiny_model):
    floor = floor_of(TransformersBackend(tiny_model("llama")), prompts(2))
    assert set(floor.scores) == set(DISTANCES)
    assert max(floor.scores.values()) < 1e-5


def test_half_precision_is_told_from_single(make_tiny_model, tiny_model):
    assert not TransformersBackend(tiny_model("llama")).limits.half_precision
    for dtype in (torch.bfloat16, torch.float16):
        assert TransformersBackend(make_tiny_model("llama").to(dtype)).limits.half_precision


def test_units_are_cut_into_other_batches(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))
    game, attribution = explained(backend, prompts(1)[0])
    before = game.batch_size
    again = remeasure(game, attribution)
    assert before > 1
    # What was measured first says what it said.
    assert game.batch_size == before
    assert {len(values) for values in again.deviations.values()} == {6}


def test_the_largest_deviation_of_all_samples():
    found = noise_floor([Remeasured({"ot": [0.1, 0.2], "kl": [0.5]}, 1.0), Remeasured({"ot": [0.3]}, 1.0)])
    assert found.scores == {"ot": 0.3, "kl": 0.5}
    assert found.measured == 3
    assert noise_floor([]) is None
