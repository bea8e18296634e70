"""Attribution of a choice against log-likelihoods that are computed one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.errors import PromptError
from tests.attribution import engine_calls, serial
from tests.attribution.closeness import CLOSE, assert_close
from tests.attribution.engine_calls import PROMPT, SPANS


def _expected_choices(model, spans, continuations, without) -> tuple[np.ndarray, list[serial.Scores]]:
    def distribution(prompt):
        logprobs = serial.choice_logprobs(model, prompt, continuations)
        shares = np.exp(logprobs - logprobs.max())
        return logprobs, shares / shares.sum()

    weight = model.get_input_embeddings().weight.detach()
    means = torch.stack([weight[list(choice)].double().mean(dim=0) for choice in continuations])
    logprobs, present = distribution(PROMPT)
    return logprobs, [serial.compare(present, distribution(without(span))[1], means) for span in spans]


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize(
    "continuations",
    [[(5,), (300,)], [(5, 6, 7), (44, 8, 9)], [(5, 6, 7, 8), (44,), (91, 12), (100, 101, 102, 3, 4, 9)]],
    ids=["single", "same-length", "lengths-differ"],
)
def test_choices_of_every_family(family_model, continuations, batch_size):
    attribution = engine_calls.choices(family_model, PROMPT, SPANS, continuations, batch_size=batch_size)
    logprobs, expected = _expected_choices(
        family_model, SPANS, continuations, lambda span: PROMPT[: span[0]] + PROMPT[span[1] :]
    )
    shares = np.exp(logprobs - logprobs.max())
    found = [(choice.logprob, choice.probability) for choice in attribution.choices]
    np.testing.assert_allclose(
        found, np.stack((logprobs, shares / shares.sum()), axis=1), rtol=CLOSE, atol=CLOSE
    )
    assert_close(attribution, expected)
    assert attribution.target == "choices"
    assert attribution.hypotheses == ()
    assert [choice.token_ids for choice in attribution.choices] == continuations


def test_choices_with_a_token_replaced(tiny_model):
    model, continuations = tiny_model("gpt2"), [(5, 6), (44,)]
    attribution = engine_calls.choices(
        model, PROMPT, SPANS[1:2], continuations, absence="replace", replace_with=41
    )
    _, (expected,) = _expected_choices(
        model, SPANS[1:2], continuations, lambda span: (*PROMPT[:3], 41, 41, *PROMPT[5:])
    )
    assert attribution.scores["ot"][0] == pytest.approx(expected.ot, abs=1e-5)


def test_choices_flow_between_their_texts(tiny_model):
    attribution = engine_calls.choices(tiny_model("llama"), PROMPT, SPANS, [(5, 6), (44, 7)])
    flows = [flow for unit in attribution.flows for flow in unit]
    assert flows
    assert all({flow.from_token, flow.to_token} == {"(5, 6)", "(44, 7)"} for flow in flows)


def test_last_token_of_a_choice_needs_no_position(make_tiny_model):
    model = make_tiny_model("gpt2", max_position_embeddings=16)
    continuations = [(5, 6, 7), (44,)]
    engine_calls.choices(model, PROMPT, SPANS, continuations)
    with pytest.raises(PromptError, match="need 17 positions, the model has 16"):
        engine_calls.choices(model, PROMPT, SPANS, [(5, 6, 7, 8), (44,)])
