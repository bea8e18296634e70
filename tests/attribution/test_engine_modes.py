"""Every way to choose hypotheses, steps and absences, all distances at once, against the serial oracle."""

from __future__ import annotations

import numpy as np
import pytest

from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE
from tests.attribution import engine_calls, serial
from tests.attribution.altered_models import bias_output
from tests.attribution.closeness import assert_close
from tests.attribution.engine_calls import PROMPT

ALL = engine_calls.methods("ot", "kl", "l2", "js", "tv", "logprob")

#: The first token, two in the middle, the last one.
SPANS = [(0, 1), (6, 8), (13, 14)]
FEWER_SPANS = SPANS[1:]

MODES = [
    (hypotheses, steps) for hypotheses in ("regenerate", "shared", "response") for steps in ("last", "mean")
]

#: Plain, learned positions, sliding window, ALiBi, recurrent.
SOME_FAMILIES = ["llama", "gpt2", "mistral", "bloom", "mamba"]

ANSWER = (44, 17, 230)


def check(model, batch_sizes=(1, 4), eos=(1,), spans=SPANS, generate=True, **settings):
    """The engine's scores are the oracle's; gives the last attribution."""
    expected = serial.scores(model, PROMPT, spans, eos=eos, generate=generate, **settings)
    for batch_size in batch_sizes:
        settings_of_batch = {**settings, "batch_size": batch_size, "methods": ALL}
        attribution = engine_calls.generation(model, PROMPT, spans, **settings_of_batch)
        assert list(attribution.scores) == [method.name for method in ALL]
        assert_close(attribution, expected)
    return attribution


@pytest.mark.parametrize(("hypotheses", "steps"), MODES)
@pytest.mark.parametrize("family", SOME_FAMILIES)
def test_every_mode(tiny_model, family, hypotheses, steps):
    attribution = check(tiny_model(family), hypotheses=hypotheses, steps=steps, num_beams=3, max_new_tokens=4)
    assert max(max(map(abs, values)) for values in attribution.scores.values()) > 0.01
    assert len(attribution.hypotheses) == (1 if hypotheses == "response" else 3)


@pytest.mark.parametrize(("hypotheses", "steps"), MODES)
@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
def test_masked(tiny_model, family, hypotheses, steps):
    sizes = {"num_beams": 2, "max_new_tokens": 3}
    modes = {"hypotheses": hypotheses, "steps": steps}
    check(tiny_model(family), (4,), spans=FEWER_SPANS, absence="mask", **modes, **sizes)


@pytest.mark.parametrize(("hypotheses", "steps"), MODES)
@pytest.mark.parametrize("family", ["mamba"])
def test_replaced(tiny_model, family, hypotheses, steps):
    sizes = {"num_beams": 2, "max_new_tokens": 3}
    check(tiny_model(family), hypotheses=hypotheses, steps=steps, absence="replace", replace_with=41, **sizes)


@pytest.mark.parametrize(("hypotheses", "steps"), MODES)
@pytest.mark.parametrize("bias", [7.0, 9.0])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_likely_ends(make_tiny_model, family, bias, hypotheses, steps):
    eos = (1, 17)
    model = bias_output(make_tiny_model(family), dict.fromkeys(eos, bias))
    model.generation_config.eos_token_id = list(eos)
    attribution = check(model, (4,), eos, FEWER_SPANS, hypotheses=hypotheses, steps=steps)
    if hypotheses != "response":
        assert any(hypothesis.ended for hypothesis in attribution.hypotheses)


@pytest.mark.parametrize("hypotheses", ["regenerate", "shared"])
@pytest.mark.parametrize("steps", ["last", "mean"])
def test_hypotheses_that_all_end_at_once(make_tiny_model, hypotheses, steps):
    eos = (1, 7, 17, 200)
    model = bias_output(make_tiny_model("llama"), dict.fromkeys(eos, 50.0))
    model.generation_config.eos_token_id = list(eos)
    attribution = check(model, (4,), eos, hypotheses=hypotheses, steps=steps)
    assert {hypothesis.token_ids for hypothesis in attribution.hypotheses} == {(token,) for token in eos}


@pytest.mark.parametrize("hypotheses", ["regenerate", "shared"])
@pytest.mark.parametrize("steps", ["last", "mean"])
@pytest.mark.parametrize("ends", [False, True])
def test_fewer_hypotheses_than_beams(make_tiny_model, hypotheses, steps, ends):
    possible = (1, 30, 31) if ends else (29, 30, 31)
    model = bias_output(make_tiny_model("llama"), dict.fromkeys(possible, 0.0), others=float("-inf"))
    # generate fills up with hypotheses that cannot be, so it is no model for the hypotheses here.
    sizes = {"num_beams": 16, "max_new_tokens": 2, "generate": False}
    attribution = engine_calls.generation(
        model, PROMPT, SPANS, methods=ALL, hypotheses=hypotheses, steps=steps, num_beams=16, max_new_tokens=2
    )
    assert_close(
        attribution, serial.scores(model, PROMPT, SPANS, hypotheses=hypotheses, steps=steps, **sizes)
    )
    assert len(attribution.hypotheses) == (7 if ends else 9)


@pytest.mark.parametrize("steps", ["last", "mean"])
@pytest.mark.parametrize(
    "answer",
    [(), ANSWER[:1], ANSWER, (*ANSWER, 9, 301), (*ANSWER, 9, 301, 88, 12)],
    ids=["empty", "one-token", "shorter", "as-long", "longer"],
)
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_given_answers(tiny_model, family, answer, steps):
    attribution = check(
        tiny_model(family), (4,), spans=FEWER_SPANS, hypotheses="response", steps=steps, answer=answer
    )
    (hypothesis,) = attribution.hypotheses
    assert hypothesis.token_ids == answer[:5]
    assert hypothesis.probability == 1.0
    logprob = serial.sequence_logprob(serial.plain_reader(tiny_model(family), PROMPT), answer[:5])
    assert hypothesis.logprob == pytest.approx(logprob, abs=1e-4)
    assert not hypothesis.ended


@pytest.mark.parametrize("steps", ["last", "mean"])
def test_outcomes_of_an_empty_answer_are_those_right_after_the_prompt(tiny_model, steps):
    model = tiny_model("gpt2")
    attribution = check(model, (4,), hypotheses="response", steps=steps, answer=())
    full = serial.plain_reader(model, PROMPT)(())[0]
    absent = serial.plain_reader(model, PROMPT[:-1])(())[0]
    difference = np.abs(np.exp(full) - np.exp(absent)).sum() / 2
    assert attribution.scores["tv"][-1] == pytest.approx(difference, abs=1e-5)
    assert attribution.scores["logprob"] == (0.0,) * len(SPANS)


@pytest.mark.parametrize("hypotheses", ["regenerate", "shared"])
@pytest.mark.parametrize("answer", [(), ANSWER, (*ANSWER, 9, 301, 88, 12)])
def test_given_answers_beside_searched_hypotheses(tiny_model, hypotheses, answer):
    attribution = check(
        tiny_model("gpt2"),
        (4,),
        spans=FEWER_SPANS,
        hypotheses=hypotheses,
        max_new_tokens=4,
        answer=answer,
    )
    assert len(attribution.hypotheses) == 4


@pytest.mark.parametrize("answer", [(1,), (44, 17, 1, 9), (44, 17, 9, 230, 1)])
def test_given_answers_go_up_to_their_end(tiny_model, answer):
    attribution = check(tiny_model("llama"), (4,), hypotheses="response", steps="mean", answer=answer)
    (hypothesis,) = attribution.hypotheses
    assert hypothesis.token_ids == answer[: answer.index(1)]


def test_greedy_answer_is_the_single_hypothesis_of_one_beam(tiny_model):
    model = tiny_model("llama")
    response = engine_calls.generation(model, PROMPT, SPANS, methods=ALL, hypotheses="response")
    shared = engine_calls.generation(model, PROMPT, SPANS, methods=ALL, hypotheses="shared", num_beams=1)
    for name, values in response.scores.items():
        assert values == pytest.approx(shared.scores[name], abs=1e-5)
    assert [known.token_ids for known in response.hypotheses] == [
        known.token_ids for known in shared.hypotheses
    ]


@pytest.mark.parametrize(("hypotheses", "steps"), MODES)
def test_one_step_is_the_mean_of_one_step(tiny_model, hypotheses, steps):
    modes = {"hypotheses": hypotheses, "steps": steps}
    check(tiny_model("llama"), (4,), spans=FEWER_SPANS, max_new_tokens=1, num_beams=3, **modes)


@pytest.mark.parametrize("hypotheses", ["shared", "response"])
def test_unit_that_is_the_whole_prompt_leaves_the_empty_prompt(tiny_model, hypotheses):
    check(tiny_model("llama"), spans=[(0, len(PROMPT))], hypotheses=hypotheses, steps="mean")


@pytest.mark.parametrize("steps", ["last", "mean"])
def test_answer_that_the_model_can_not_give(make_tiny_model, steps):
    """Its probability is 0 with and without every unit; what follows it is still what follows it."""
    model = bias_output(make_tiny_model("llama"), {230: float("-inf")})
    attribution = engine_calls.generation(
        model, PROMPT, SPANS, hypotheses="response", steps=steps, answer=ANSWER, methods=ALL[:5]
    )
    expected = serial.scores(model, PROMPT, SPANS, hypotheses="response", steps=steps, answer=ANSWER)
    assert_close(attribution, expected)
    drops, possible = (
        engine_calls.generation(
            model, PROMPT, SPANS, hypotheses="response", steps=steps, answer=answer, methods=ALL[5:]
        )
        for answer in (ANSWER, ANSWER[:-1])
    )
    # Its last token, which cannot be, is no less likely without a unit.
    np.testing.assert_allclose(drops.scores["logprob"], possible.scores["logprob"], atol=1e-5)
    assert drops.hypotheses[0].logprob == IMPOSSIBLE
