"""Coalitions in, values out: what they are worth, and that each is read once."""

from __future__ import annotations

import doctest
import itertools

import numpy as np
import pytest
import torch

import gilot_plugin.attribution.game
import gilot_plugin.attribution.schemes.protocol
from gilot_plugin.attribution.engine import attribute, attribute_together
from gilot_plugin.attribution.game import read_together
from gilot_plugin.attribution.games import choices_game, generation_game
from gilot_plugin.attribution.methods import PromptMethod
from gilot_plugin.attribution.prompt.tokens import make_prompt
from gilot_plugin.attribution.prompt.units import Refinement, make_units
from gilot_plugin.attribution.schemes.protocol import SchemeResult
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.baselines.perturbation import feature_ablation, kernel_shap, lime, shapley_sampling
from tests.attribution.closeness import CLOSE
from tests.attribution.engine_calls import PROMPT, execution, methods, prompt_of, recipe, units_at
from tests.attribution.serial import plain_reader

SPANS = [(0, 1), (3, 5), (6, 7), (10, 13)]
ANSWER = (5, 300, 44)
MODES = {"hypotheses": "response", "steps": "mean", "max_new_tokens": 3}


def game_of(backend, spans=SPANS, names=("ot", "kl", "tv"), **settings):
    prompt = prompt_of(PROMPT)
    asked = recipe(**{**MODES, "methods": methods(*names), **settings})
    units = units_at(prompt, spans)
    return generation_game(backend, prompt, units, asked, str, str, execution(**settings), answer=ANSWER)


def every_coalition(units):
    return np.array(list(itertools.product([False, True], repeat=units)))


def plain_positions(model, absent, read=plain_reader):
    """KL and total variation at each position of the answer, by hand: the prompt without the spans."""
    gone = {
        place for here, (start, end) in zip(absent, SPANS, strict=True) if here for place in range(start, end)
    }
    with_all = read(model, PROMPT)(ANSWER[:-1])
    without = read(model, [token for place, token in enumerate(PROMPT) if place not in gone])(ANSWER[:-1])
    masses = np.exp(with_all)
    return {
        "kl": (masses * (with_all - without)).sum(axis=1),
        "tv": 0.5 * np.abs(masses - np.exp(without)).sum(axis=1),
    }


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_values_of_every_coalition_are_those_of_plain_passes(tiny_model, family):
    model = tiny_model(family)
    coalitions = every_coalition(len(SPANS))
    found = game_of(TransformersBackend(model)).values(coalitions)
    assert list(found.positions) == ["ot", "kl", "tv"]
    for place, absent in enumerate(coalitions):
        for name, expected in plain_positions(model, absent).items():
            np.testing.assert_allclose(found.positions[name][place], expected, rtol=CLOSE, atol=CLOSE)
    assert not any(values[0].any() for values in found.positions.values())
    np.testing.assert_allclose(found.means("kl"), found.positions["kl"].mean(axis=1))


def test_coalitions_come_in_any_form_and_order(tiny_model):
    game = game_of(TransformersBackend(tiny_model("llama")))
    mask = every_coalition(len(SPANS))
    units = [tuple(unit for unit, gone in zip(game.units, row, strict=True) if gone) for row in mask]
    found = game.values(mask, methods("kl")).means("kl")
    for again in (units, torch.from_numpy(mask), [absent[::-1] for absent in units]):
        assert game.values(again, methods("kl")).means("kl") == found
    assert game.values(mask[::-1], methods("kl")).means("kl") == found[::-1]
    assert game.values([], methods("kl")).positions["kl"].shape[0] == 0
    with pytest.raises(ValueError, match=r"coalitions of 4 units are \[n, 4\], not \[16, 3\]"):
        game.values(mask[:, :3])


def test_a_coalition_is_read_once_whatever_is_asked_of_it(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))
    game = game_of(backend)
    game.values(np.eye(4, dtype=bool))
    spent, tokens = game.spent, backend.model_tokens
    assert spent.coalitions == 4
    assert spent.model_tokens == tokens
    game.values(np.eye(4, dtype=bool)[::-1], methods("tv"))
    # The answer was read along with the outcomes.
    drops = game.values([(unit,) for unit in game.units], methods("logprob")).means("logprob")
    assert backend.model_tokens == tokens
    alone = game_of(backend, names=("logprob",)).values(np.eye(4, dtype=bool)).means("logprob")
    np.testing.assert_allclose(drops, alone, atol=CLOSE)
    game.values([game.units[:2], game.units[:1], game.units[:2]])
    assert game.spent.coalitions == 5
    assert backend.model_tokens > tokens


def test_how_likely_the_answer_is_takes_no_outcomes(tiny_model):
    """Where a search for hypotheses would be made without each unit, the answer alone is fed."""
    asked = {"hypotheses": "regenerate", "steps": "last", "names": ("logprob", "kl")}
    backend = TransformersBackend(tiny_model("llama"))
    game = game_of(backend, **asked)
    tokens = backend.model_tokens
    alone = game.values(np.eye(4, dtype=bool), methods("logprob")).means("logprob")
    rows = [len(PROMPT) - start for start, _ in SPANS]
    assert backend.model_tokens - tokens <= len(PROMPT) + sum(rows) + 5 * (len(ANSWER) - 1)
    np.testing.assert_allclose(alone, game.values(np.eye(4, dtype=bool)).means("logprob"), atol=CLOSE)


CAPTUM = {
    "feature_ablation": feature_ablation,
    "lime": lime,
    "kernel_shap": kernel_shap,
    "sampling": shapley_sampling,
}


@pytest.mark.parametrize("hypotheses", ["response", "regenerate"])
def test_methods_of_a_prompt_read_no_coalition_twice(tiny_model, hypotheses):
    backend = TransformersBackend(tiny_model("llama"))

    def tokens_of(*names):
        others = [PromptMethod(name, "", CAPTUM[name], needs_answer=True) for name in names]
        game = game_of(backend, hypotheses=hypotheses, num_beams=2, methods=(*methods("kl"), *others))
        before = backend.model_tokens
        attribution = attribute(backend, game)
        read = backend.model_tokens - before
        assert attribution.diagnostics.model_tokens >= read
        return read, game.spent.coalitions, attribution.scores

    # Single units are what the distances have read.
    alone, count, _ = tokens_of("feature_ablation")
    assert count == len(SPANS)
    # Of so few units, kernel SHAP reads every coalition; the others find all that they want.
    shap, count, scores = tokens_of("kernel_shap")
    assert count == 2 ** len(SPANS) - 1
    assert shap > alone
    every, count, together = tokens_of(*CAPTUM)
    assert (every, count) == (shap, 2 ** len(SPANS) - 1)
    np.testing.assert_allclose(together["kernel_shap"], scores["kernel_shap"], atol=CLOSE)


def test_choices_are_read_once_for_distances_and_for_captum(tiny_model):
    backend, prompt = TransformersBackend(tiny_model("llama")), prompt_of(PROMPT)
    units = units_at(prompt, SPANS)
    game = choices_game(backend, prompt, units, [(5,), (300,), (44,)], list("abc"), recipe(), gold=[1])
    attribution = attribute(backend, game)
    tokens = backend.model_tokens
    drops = game.values([(unit,) for unit in units], [game.target.answer_measure]).means("choice")
    assert backend.model_tokens == tokens
    assert set(attribution.scores) == {"ot", "kl", "l2", "margin"}
    assert len(drops) == len(units)


def test_a_scheme_may_ask_again_after_what_it_has_heard(tiny_model):
    """Take away the unit that matters most, then the next beside it, and so on."""

    def greedy(game):
        gone, gains = [], {}
        while len(gone) < len(game.units):
            left = [unit for unit in game.units if unit not in gone]
            values = yield [(*gone, unit) for unit in left]
            best, worth = max(zip(left, values.means("kl"), strict=True), key=lambda pair: pair[1])
            gone.append(best)
            gains[best] = worth
        return SchemeResult({"kl": tuple(gains[unit] for unit in game.units)})

    backend = TransformersBackend(tiny_model("llama"))
    asked = {"names": ("kl",), "scheme": greedy, "batch_size": 32}
    games = [game_of(backend, **asked), game_of(backend, SPANS[1:], **asked)]
    together = dict(attribute_together(backend, games))
    for game in games:
        table = dict(zip(*coalitions_of(game), strict=True))
        gone, expected = set(), {}
        while len(gone) < len(game.units):
            best = max(set(range(len(game.units))) - gone, key=lambda place: table[frozenset({place, *gone})])
            gone.add(best)
            expected[best] = table[frozenset(gone)]
        found = together[game].scores["kl"]
        assert found == tuple(expected[place] for place in range(len(game.units)))


def coalitions_of(game):
    """Every coalition, as places of its units, and what it is worth."""
    mask = every_coalition(len(game.units))
    return [frozenset(np.flatnonzero(row).tolist()) for row in mask], game.values(mask).means("kl")


def test_adaptive_units_are_read_once_for_the_units_and_for_the_scheme(tiny_model, tiny_tokenizer):
    backend = TransformersBackend(tiny_model("llama"))
    text = "The dog can fly.\nA bird can not!"
    prompt = make_prompt(tiny_tokenizer, tiny_tokenizer(text)["input_ids"])
    asked = recipe(**MODES, methods=methods("kl"))
    game = generation_game(backend, prompt, Refinement("all", 10**5), asked, str, str)
    attribution = attribute(backend, game)
    assert attribution.coarse_units
    assert game.spent.coalitions == len(attribution.units) + len(attribution.coarse_units)
    assert game.spent.model_tokens == pytest.approx(backend.model_tokens, abs=1)


def test_full_prompts_alone(tiny_model):
    """As a selection by entropy reads them."""
    backend = TransformersBackend(tiny_model("llama"))
    games = [game_of(backend), game_of(backend, SPANS[:1])]
    tokens = backend.model_tokens
    read_together(dict.fromkeys(games, ()))
    assert backend.model_tokens - tokens == 2 * (len(PROMPT) + len(ANSWER) - 1)
    assert [game.spent.coalitions for game in games] == [0, 0]
    again = backend.model_tokens
    assert games[0].full is games[0].full
    assert backend.model_tokens == again


def test_the_examples_of_the_docstrings(tiny_model, tiny_tokenizer):
    text = "A bird can fly"
    (KL,) = methods("kl")
    names = {
        "np": np,
        "KL": KL,
        "backend": TransformersBackend(tiny_model("llama")),
        "prompt": make_prompt(tiny_tokenizer, tiny_tokenizer(text)["input_ids"]),
        "recipe": recipe(**{**MODES, "max_new_tokens": 2}, methods=methods("ot", "kl")),
        "generation_game": generation_game,
        "make_units": make_units,
    }
    for module in (gilot_plugin.attribution.game, gilot_plugin.attribution.schemes.protocol):
        found = doctest.testmod(module, extraglobs=names)
        assert found.attempted > 0
        assert found.failed == 0
