"""Several prompts at once give what each gives by itself."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.attribution.engine import attribute, attribute_together
from gilot_plugin.attribution.games import choices_game, generation_game
from gilot_plugin.attribution.methods import Distance
from gilot_plugin.attribution.prompt.units import Refinement
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import BudgetError
from tests.attribution import engine_calls
from tests.attribution.closeness import assert_same
from tests.attribution.engine_calls import PROMPT

PROMPTS = [PROMPT, PROMPT[3:9], (7,), (0, *PROMPT[::-1], *PROMPT)]
CHOICES = [[(4, 5), (6,), (7, 8, 9)], [(4,), (9, 9)], [(3,), (4,)], [(5, 6), (5, 7), (8,), (9, 1)]]


def generations(backend, units=None, **settings):
    made = [engine_calls.prompt_of(ids) for ids in PROMPTS]
    return [
        generation_game(
            backend,
            prompt,
            units or units_of(prompt),
            engine_calls.recipe(**settings),
            str,
            str,
            engine_calls.execution(**settings),
        )
        for prompt in made
    ]


def choices(backend, **settings):
    made = [engine_calls.prompt_of(ids) for ids in PROMPTS]
    return [
        choices_game(
            backend,
            prompt,
            units_of(prompt),
            known,
            list("abcd"[: len(known)]),
            engine_calls.recipe(**settings),
            engine_calls.execution(**settings),
            gold=[0],
        )
        for prompt, known in zip(made, CHOICES, strict=True)
    ]


def units_of(prompt):
    return engine_calls.units_at(prompt, [(index, index + 1) for index in range(len(prompt.tokens))])


def assert_each_as_alone(backend, ask):
    together = dict(attribute_together(backend, games := ask(backend)))
    assert set(together) == set(games)
    for game, single in zip(games, ask(backend), strict=True):
        alone = attribute(backend, single)
        assert_same(together[game], alone)
        assert [h.token_ids for h in together[game].hypotheses] == [h.token_ids for h in alone.hypotheses]
        np.testing.assert_allclose(
            [choice.logprob for choice in together[game].choices],
            [choice.logprob for choice in alone.choices],
            atol=1e-5,
        )
    return [together[game] for game in games]


@pytest.mark.parametrize("steps", ["last", "mean"])
@pytest.mark.parametrize("hypotheses", ["regenerate", "shared", "response"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "bloom"])
def test_generations(tiny_model, family, hypotheses, steps):
    modes = {"hypotheses": hypotheses, "steps": steps, "batch_size": 64, "num_beams": 3, "max_new_tokens": 3}
    names = engine_calls.methods("ot", "logprob")
    found = assert_each_as_alone(
        TransformersBackend(tiny_model(family)),
        lambda backend: generations(backend, methods=names, **modes),
    )
    total = sum(len(ids) + 1 for ids in PROMPTS)
    for attribution, ids in zip(found, PROMPTS, strict=True):
        # Backends that share nothing read one prompt after the other.
        assert attribution.diagnostics.batch_size == (len(ids) + 1 if family == "bloom" else total)


@pytest.mark.parametrize("family", ["gpt2", "mamba"])
def test_choices(tiny_model, family):
    assert_each_as_alone(
        TransformersBackend(tiny_model(family)), lambda backend: choices(backend, batch_size=64)
    )


def test_tokens_are_shared_out(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))
    found = [one for _, one in attribute_together(backend, generations(backend, batch_size=64))]
    assert sum(one.diagnostics.model_tokens for one in found) == pytest.approx(backend.model_tokens, abs=4)


def test_adaptive_units(tiny_model):
    def ask(backend):
        return generations(backend, Refinement("all", 400), num_beams=2, max_new_tokens=2, batch_size=64)

    assert_each_as_alone(TransformersBackend(tiny_model("llama")), ask)


def test_generations_and_choices_in_one_call(tiny_model):
    assert_each_as_alone(
        TransformersBackend(tiny_model("llama")), lambda backend: [*generations(backend), *choices(backend)]
    )


def test_an_error_stays_with_its_prompt(tiny_model):
    def fail(present, absent):
        raise ZeroDivisionError

    backend = TransformersBackend(tiny_model("llama"))
    games = generations(backend, batch_size=64)
    games[1] = generations(backend, methods=(Distance("fails", "", fail),))[1]
    found = dict(attribute_together(backend, games))
    assert isinstance(found.pop(games[1]), ZeroDivisionError)
    expected = generations(backend)
    for place in (0, 2, 3):
        assert_same(found[games[place]], attribute(backend, expected[place]))


def test_prompts_that_do_not_fit_the_budget_together(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))
    needed = []
    for budget in np.geomspace(1e6, 1e8, 15).astype(int).tolist():
        settings = {"batch_size": None, "memory_budget": budget, "num_beams": 2, "max_new_tokens": 2}
        found = [one for _, one in attribute_together(backend, generations(backend, **settings))]
        failed = [isinstance(one, BudgetError) for one in found]
        needed.append(sum(failed))
        if not any(failed):
            for one, single in zip(found, generations(backend, num_beams=2, max_new_tokens=2), strict=True):
                assert_same(one, attribute(backend, single))
            break
    assert needed[0] == len(PROMPTS)
    assert needed[-1] == 0
    assert needed == sorted(needed, reverse=True)
