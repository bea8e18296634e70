"""A runtime that is one plain forward loop gives what the serial oracle and the transformers runtime give."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.attribution.engine import attribute, attribute_together
from gilot_plugin.attribution.games import generation_game
from gilot_plugin.attribution.prediction.greedy import Decoding, greedy_answers
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import assert_close, assert_same
from tests.attribution.engine_calls import PROMPT, methods, prompt_of, recipe, units_at
from tests.backends.opening import Row
from tests.backends.plain_loop import PlainLoop

ALL = methods("ot", "kl", "l2", "js", "tv", "logprob")
SPANS = [(0, 1), (6, 8), (13, 14)]
MODES = [
    (hypotheses, steps) for hypotheses in ("regenerate", "shared", "response") for steps in ("last", "mean")
]


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("absence", ["delete", "mask"])
@pytest.mark.parametrize(("hypotheses", "steps"), MODES)
def test_every_mode(tiny_model, hypotheses, steps, absence, shares):
    modes = {"hypotheses": hypotheses, "steps": steps, "absence": absence}
    modes |= {"num_beams": 2, "max_new_tokens": 3}
    model, spans = tiny_model("llama"), SPANS[1:] if absence == "mask" else SPANS
    found = engine_calls.generation(PlainLoop(model, shares), PROMPT, spans, methods=ALL, **modes)
    assert_close(found, serial.scores(model, PROMPT, spans, **modes))
    same = engine_calls.generation(model, PROMPT, spans, methods=ALL, **modes)
    assert_same(found, same)
    assert [one.token_ids for one in found.hypotheses] == [one.token_ids for one in same.hypotheses]


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_choices(tiny_model, family, shares):
    model, choices = tiny_model(family), [(5, 6, 7), (5, 6, 8), (44,)]
    runtime = PlainLoop(model, shares)
    found = engine_calls.choices(runtime, PROMPT, SPANS, choices, gold=[2], methods=ALL)
    same = engine_calls.choices(model, PROMPT, SPANS, choices, gold=[2], methods=ALL)
    assert_same(found, same)
    np.testing.assert_allclose(
        [choice.logprob for choice in found.choices], [choice.logprob for choice in same.choices], atol=1e-5
    )


@pytest.mark.parametrize("shares", [False, True])
def test_several_prompts_at_once(tiny_model, shares):
    runtime = PlainLoop(tiny_model("llama"), shares)

    def games():
        prompts = [prompt_of(ids) for ids in (PROMPT, PROMPT[3:9], (7, 8))]
        modes = {"hypotheses": "response", "steps": "mean", "max_new_tokens": 3}
        asked = recipe(**modes, methods=methods("kl", "logprob"))
        return [generation_game(runtime, one, units_at(one, [(0, 1)]), asked, str, str) for one in prompts]

    together = dict(attribute_together(runtime, played := games()))
    for game, single in zip(played, games(), strict=True):
        assert_same(together[game], attribute(runtime, single))


def test_greedy_answers(tiny_model):
    model = tiny_model("llama")
    rows = [Row(PROMPT[start:]) for start in (0, 3, 7)]
    (plain,), (same,) = (
        list(greedy_answers(engine_calls.opened(one), rows, Decoding(5))) for one in (PlainLoop(model), model)
    )
    assert plain == same
