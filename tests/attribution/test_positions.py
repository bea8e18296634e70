"""Positions of the answer: the first is what the prompt itself predicts.

Derived from the definition with the model's plain forward pass, not from the package's or the serial reading.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.errors import PromptError
from tests.attribution.altered_models import bias_output
from tests.attribution.engine_calls import PROMPT, generation, methods

SPAN = (6, 7)
WITHOUT = (*PROMPT[:6], *PROMPT[7:])


def predictions(model, prompt, answer):
    """log p(. | prompt, answer[: t - 1]) for t = 1..len(answer), ``[positions, vocab]``."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0, len(prompt) - 1 :]
    return logits.double().log_softmax(-1).numpy()


def kl(present, absent):
    """KL divergence at each position, in nats."""
    return (np.exp(present) * (present - absent)).sum(axis=1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_answer_watched_for_so_many_tokens_has_so_many_positions(tiny_model, count):
    model, answer = tiny_model("llama"), (44, 9, 211, 17, 230, 5, 80)
    found = generation(
        model, PROMPT, [SPAN], answer, hypotheses="response", steps="mean", max_new_tokens=count,
        methods=methods("kl", "tv", "logprob"),
    )  # fmt: skip
    present, absent = (predictions(model, prompt, answer[:count]) for prompt in (PROMPT, WITHOUT))
    said = (np.arange(count), np.array(answer[:count]))
    assert found.scores["kl"][0] == pytest.approx(kl(present, absent).mean(), rel=1e-4)
    assert found.scores["tv"][0] == pytest.approx(
        0.5 * np.abs(np.exp(present) - np.exp(absent)).sum(axis=1).mean(), rel=1e-4
    )
    assert found.scores["logprob"][0] == pytest.approx((present - absent)[said].sum(), rel=1e-4)
    entropy = -(np.exp(present) * present).sum(axis=1).mean()
    assert found.diagnostics.outcome_entropy == pytest.approx(entropy, rel=1e-4)


def test_an_answer_shorter_than_what_is_watched_has_as_many_positions_as_tokens(tiny_model):
    model, answer = tiny_model("llama"), (44, 9)
    found = generation(
        model, PROMPT, [SPAN], answer, hypotheses="response", steps="mean", methods=methods("kl")
    )
    present, absent = (predictions(model, prompt, answer) for prompt in (PROMPT, WITHOUT))
    assert found.scores["kl"][0] == pytest.approx(kl(present, absent).mean(), rel=1e-4)


@pytest.mark.parametrize("answer", [(), (1,)], ids=["cut to nothing", "ended at once"])
def test_an_answer_that_says_nothing_has_the_position_where_it_ended(tiny_model, answer):
    model = tiny_model("llama")
    found = generation(
        model, PROMPT, [SPAN], answer, hypotheses="response", steps="mean", methods=methods("kl")
    )
    present, absent = (predictions(model, prompt, (1,)) for prompt in (PROMPT, WITHOUT))
    assert found.scores["kl"][0] == pytest.approx(kl(present, absent)[0], rel=1e-4)


def test_the_first_position_is_the_same_whatever_the_hypotheses(family_model):
    """Before the first token there is one beginning, the empty one: nothing to search, nothing to weigh."""
    found = [
        generation(
            family_model, PROMPT, [SPAN, (0, 1)], hypotheses=hypotheses, steps="mean", max_new_tokens=1
        ).scores
        for hypotheses in ("response", "shared", "regenerate")
    ]
    for other in found[1:]:
        for name, scores in found[0].items():
            assert other[name] == pytest.approx(scores, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("hypotheses", ["response", "shared", "regenerate"])
def test_the_last_position_needs_no_room_behind_it(make_tiny_model, hypotheses):
    """Of J tokens, the last is predicted and never read: a prompt may fill all but J - 1 of the window."""
    model = bias_output(make_tiny_model("gpt2", max_position_embeddings=18), {1: float("-inf")})
    assert len(PROMPT) == 14
    found = generation(model, PROMPT, [SPAN], hypotheses=hypotheses, steps="mean", max_new_tokens=5)
    assert np.isfinite(found.scores["ot"]).all()
    for steps, tokens in (("mean", 6), ("last", 5)):
        with pytest.raises(PromptError, match="positions"):
            generation(model, PROMPT, [SPAN], hypotheses=hypotheses, steps=steps, max_new_tokens=tokens)
