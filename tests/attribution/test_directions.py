"""Signed measures and every position's own scores, derived from the definitions with plain passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.prediction.directions import logprob_of_odds
from gilot_plugin.backends.scoring.logprobs import log_odds
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution.altered_models import bias_output
from tests.attribution.engine_calls import PROMPT, SPANS, choices, generation, methods

ANSWER = (44, 9, 211, 17)
RESPONSE = {"hypotheses": "response", "steps": "mean", "max_new_tokens": len(ANSWER)}
SIGNED = ("signed_ot", "signed_kl", "signed_l2", "signed_js", "signed_tv")


def predictions(model, prompt, answer=ANSWER):
    """log p(. | prompt, answer[: t - 1]) for t = 1..len(answer), ``[positions, vocab]``, in float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0, len(prompt) - 1 :]
    return logits.double().log_softmax(-1)


def odds_of(logprobs, answer=ANSWER):
    """log p - log(1 - p) of each token, the others summed one by one."""
    rows = []
    for row, token in zip(logprobs, answer, strict=True):
        others = torch.cat((row[:token], row[token + 1 :]))
        rows.append(float(row[token]) - float(others.logsumexp(0)))
    return np.array(rows)


def without(span):
    return [token for place, token in enumerate(PROMPT) if place not in range(*span)]


@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_the_sign_at_each_position_is_that_of_the_drop_in_log_odds_there(tiny_model, family):
    model = tiny_model(family)
    asked = ("ot", "kl", "l2", "js", "tv", *SIGNED, "logodds", "logprob")
    found = generation(model, PROMPT, SPANS, ANSWER, **RESPONSE, methods=methods(*asked))
    with_all = predictions(model, PROMPT)
    said = np.arange(len(ANSWER)), np.array(ANSWER)
    for number, span in enumerate(SPANS):
        absent = predictions(model, without(span))
        drops = odds_of(with_all) - odds_of(absent)
        np.testing.assert_allclose(found.step_scores["logodds"][number], drops, atol=2e-4)
        assert found.scores["logodds"][number] == pytest.approx(drops.mean(), abs=2e-4)
        of_tokens = (with_all - absent).numpy()[said]
        np.testing.assert_allclose(found.step_scores["logprob"][number], of_tokens, atol=1e-4)
        assert found.scores["logprob"][number] == pytest.approx(of_tokens.sum(), abs=1e-4)
        for name in SIGNED:
            plain = np.array(found.step_scores[name.removeprefix("signed_")][number])
            np.testing.assert_array_equal(found.step_scores[name][number], np.sign(drops) * plain)
            assert found.scores[name][number] == pytest.approx(np.mean(np.sign(drops) * plain))
    # Some of either sign, or nothing is shown.
    signs = np.sign(found.step_scores["signed_kl"])
    assert {-1.0, 1.0} <= set(signs.flatten())
    assert found.answer.window == (0, 1, 2, 3)
    assert [token.id for token in found.answer.tokens] == list(ANSWER)


def test_signs_cost_no_reading(tiny_model):
    backend = TransformersBackend(tiny_model("llama"))

    def read(*names):
        before = backend.model_tokens
        found = generation(backend, PROMPT, SPANS, ANSWER, **RESPONSE, methods=methods(*names))
        return backend.model_tokens - before, found

    plain, without_signs = read("ot", "kl")
    signed, found = read("signed_ot", "ot", "kl", "logodds")
    assert signed == plain
    assert found.scores["kl"] == without_signs.scores["kl"]
    # By itself, a signed distance is computed all the same, and its flows are there.
    alone, lone = read("signed_ot")
    assert alone == plain
    assert lone.scores["signed_ot"] == found.scores["signed_ot"]
    assert lone.flows == without_signs.flows
    assert lone.diagnostics.transport_bounds == without_signs.diagnostics.transport_bounds


@pytest.mark.parametrize("hypotheses", ["response", "shared", "regenerate"])
@pytest.mark.parametrize("steps", ["mean", "last"])
def test_hypotheses_of_every_kind_have_a_direction(tiny_model, hypotheses, steps):
    model, settings = tiny_model("llama"), {"num_beams": 2, "max_new_tokens": 6, "steps": steps}
    found = generation(
        model, PROMPT, SPANS, ANSWER, hypotheses=hypotheses, **settings, methods=methods("kl", "signed_kl")
    )
    with_all = predictions(model, PROMPT)
    said = np.arange(len(ANSWER)), np.array(ANSWER)
    for number, span in enumerate(SPANS):
        absent = predictions(model, without(span))
        if steps == "last":
            # Only what comes after all of the answer is compared: its direction is the whole answer's.
            whole = (with_all - absent).numpy()[said].sum()
            expected = np.sign(whole) * found.scores["kl"][number]
            assert found.scores["signed_kl"][number] == pytest.approx(expected)
        elif hypotheses == "response":
            drops = odds_of(with_all) - odds_of(absent)
            np.testing.assert_array_equal(np.sign(found.step_scores["signed_kl"][number]), np.sign(drops))
    # Hypotheses of six tokens have more positions than the answer's four.
    assert bool(found.step_scores) == (hypotheses == "response" and steps == "mean")


def test_what_is_all_but_certain_keeps_its_direction(make_tiny_model):
    """Where the token has a probability of 1 in single precision, what is left of it still tells."""
    model = bias_output(make_tiny_model("llama"), {44: 60.0})
    settings = {"hypotheses": "response", "steps": "mean", "max_new_tokens": 1}
    asked = methods("signed_tv", "logodds", "logprob")
    found = generation(model, PROMPT, SPANS, (44,), **settings, methods=asked)
    with_all = odds_of(predictions(model, PROMPT, (44,)), (44,))
    assert with_all > 25.0
    for number, span in enumerate(SPANS):
        drop = with_all - odds_of(predictions(model, without(span), (44,)), (44,))
        assert found.scores["logprob"][number] == 0.0
        assert found.scores["logodds"][number] == pytest.approx(float(drop[0]), abs=1e-4)
        assert np.sign(found.scores["signed_tv"][number]) == np.sign(drop[0])


def test_log_odds_of_what_is_certain_and_of_what_cannot_be():
    logprobs = torch.tensor([[0.0, -torch.inf, -torch.inf], [0.0, -90.0, -95.0]])
    found = log_odds(logprobs, torch.tensor([0, 0]))
    assert found.dtype == torch.float64
    assert found[0] == 1e6
    assert float(found[1]) == pytest.approx(90.0 - np.log1p(np.exp(-5.0)))
    assert float(log_odds(logprobs, torch.tensor([2, 2]))[0]) == -1e6
    assert float(logprob_of_odds(found[1].numpy())) == pytest.approx(-float(torch.exp(-found[1])), rel=1e-12)


def test_choices_have_the_odds_of_the_preferred_one_against_the_rest(tiny_model):
    model = tiny_model("llama")
    options = [(5, 44), (300,), (9, 12)]
    found = choices(model, PROMPT, SPANS, options, methods=methods("kl", "signed_kl", "logodds"), gold=[1])

    def sums(prompt):
        return np.array(
            [predictions(model, prompt, one).numpy()[np.arange(len(one)), list(one)].sum() for one in options]
        )

    def odds(values, chosen):
        rest = np.delete(values, chosen)
        return values[chosen] - (rest.max() + np.log(np.exp(rest - rest.max()).sum()))

    full = sums(PROMPT)
    chosen = int(full.argmax())
    for number, span in enumerate(SPANS):
        drop = odds(full, chosen) - odds(sums(without(span)), chosen)
        assert found.scores["logodds"][number] == pytest.approx(drop, abs=1e-4)
        assert found.scores["signed_kl"][number] == pytest.approx(np.sign(drop) * found.scores["kl"][number])
    assert found.answer is None
    assert not found.step_scores


def test_a_single_choice_and_an_empty_answer_have_no_direction(tiny_model):
    asked = methods("kl", "signed_kl", "logodds")
    found = choices(tiny_model("llama"), PROMPT, SPANS, [(5, 44)], methods=asked)
    assert not any(found.scores["logodds"])
    assert not any(found.scores["signed_kl"])
    found = generation(tiny_model("llama"), PROMPT, SPANS, (), **RESPONSE, methods=asked)
    assert all(found.scores["kl"])
    assert not any(found.scores["logodds"])
    assert not any(found.scores["signed_kl"])
    assert not found.step_scores


def test_the_matrix_may_be_left_out(tiny_model):
    found = generation(
        tiny_model("llama"), PROMPT, SPANS, ANSWER, **RESPONSE, methods=methods("kl"), step_scores=False
    )
    assert found.step_scores == {}
    assert found.answer.window == (0, 1, 2, 3)


def test_a_person_knows_what_paris_hangs_on(smollm2):
    """Every word of the question speaks for the answer, the country by a factor of more than seven."""
    import gilot_plugin

    found = gilot_plugin.attribute(
        *smollm2,
        "The capital of France is",
        {"methods": ["signed_ot", "ot", "logodds"], "max_new_tokens": 1},
        response=" Paris",
    )
    by_word = {unit.text.strip(): place for place, unit in enumerate(found.units)}
    signed, odds = found.scores["signed_ot"], found.scores["logodds"]
    assert min(signed) > 0.0
    assert odds[by_word["France"]] > 2.0
    assert found.answer.tokens[0].text == " Paris"
