"""Attention rollout against the product of whole matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.baselines.rollout import attention_rollout, refuses_rollout, rolled_out
from gilot_plugin.errors import BudgetError, UnsupportedModelError
from tests.attribution.engine_calls import PROMPT
from tests.baselines.contexts import CHOICES, SPANS, context_of

FAMILIES = ("llama", "gpt2", "qwen2", "gemma2", "mistral", "bloom", "opt")


def by_hand(make_tiny_model, family, token_ids, first):
    """In the order of the paper's equation, from the attention of a model that was made eager."""
    model = make_tiny_model(family, attn_implementation="eager")
    with torch.no_grad():
        attentions = model(torch.tensor([token_ids]), output_attentions=True, use_cache=False).attentions
    rollout = np.eye(len(token_ids))
    for layer in attentions:
        rollout = (0.5 * layer[0].double().numpy().mean(axis=0) + 0.5 * np.eye(len(token_ids))) @ rollout
    shares = rollout[first:].mean(axis=0)
    return [shares[start:end].sum() for start, end in SPANS]


@pytest.mark.parametrize("family", FAMILIES)
def test_rollout_of_a_generation(tiny_model, make_tiny_model, family):
    context = context_of(tiny_model(family))
    answer = context.game.answer.token_ids
    assert len(answer) > 1
    expected = by_hand(make_tiny_model, family, [*PROMPT, *answer[:-1]], len(PROMPT) - 1)
    np.testing.assert_allclose(attention_rollout(context), expected, rtol=1e-4, atol=1e-7)


def test_rollout_of_choices_leaves_what_is_not_scored_out(tiny_model, make_tiny_model):
    context = context_of(tiny_model("llama"), choices=[(5, 6, 7), (9, 6, 7)], unscored=[1, 1])
    answer = context.game.answer.token_ids
    expected = by_hand(make_tiny_model, "llama", [*PROMPT, *answer[:-1]], len(PROMPT))
    np.testing.assert_allclose(attention_rollout(context), expected, rtol=1e-4, atol=1e-7)


def test_rollout_of_an_empty_answer_starts_at_the_last_token(tiny_model, make_tiny_model):
    context = context_of(tiny_model("llama"), answer=[1])
    expected = by_hand(make_tiny_model, "llama", list(PROMPT), len(PROMPT) - 1)
    np.testing.assert_allclose(attention_rollout(context), expected, rtol=1e-4, atol=1e-7)


def test_shares_add_up_to_1():
    attention = torch.rand(3, 6, 6).tril().softmax(dim=-1)
    assert rolled_out(attention, 4).sum().item() == pytest.approx(1)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_model_is_left_as_it_was(make_tiny_model, implementation):
    model = make_tiny_model("llama", attn_implementation=implementation)
    context = context_of(model, choices=CHOICES)
    tokens = context.backend.model_tokens
    config = model.config.to_dict()
    attention_rollout(context)
    assert context.backend.model_tokens == tokens + len(PROMPT) + len(context.game.answer.token_ids) - 1
    assert model.config._attn_implementation == model.model.config._attn_implementation == implementation
    assert model.config.to_dict() == config
    assert not model.training


@pytest.mark.parametrize(("family", "layers"), [("mamba", "0 of its 2"), ("lfm2", "1 of its 2")])
def test_models_without_attention_are_refused(tiny_model, family, layers):
    context = context_of(tiny_model(family))
    why = refuses_rollout(context.backend)
    assert why is not None
    assert f"{layers} layers return their attention" in why
    with pytest.raises(UnsupportedModelError, match="attention cannot be followed"):
        attention_rollout(context)


def test_other_backends_are_refused():
    assert refuses_rollout(object()) is not None  # type: ignore[arg-type]


def test_too_little_memory_is_said(tiny_model, monkeypatch):
    context = context_of(tiny_model("llama"))
    monkeypatch.setattr(type(context.backend), "free_memory", lambda self: 1000)
    with pytest.raises(BudgetError, match="leave attention_rollout out"):
        attention_rollout(context)
