"""Gradient methods against gradients that are written out, and against the value that they explain."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.games import answer_game
from gilot_plugin.backends.scoring.sessions import Need
from gilot_plugin.baselines.gradients import (
    EmbeddedAnswer,
    input_x_gradient,
    integrated_gradients,
    refuses_gradients,
)
from gilot_plugin.errors import BudgetError, UnsupportedModelError
from tests.attribution.altered_models import read_last_token_only
from tests.attribution.closeness import CLOSE_LOGPROBS
from tests.attribution.engine_calls import PROMPT
from tests.baselines.contexts import CHOICES, SPANS, context_of

FAMILIES = ("llama", "gpt2", "qwen2", "gemma2", "mamba")
METHODS = (integrated_gradients, input_x_gradient)


def value_of(model, embeddings, answers, chosen, lengths=None):
    """Log-probability of the chosen answer, by hand: one pass an answer."""
    sums = []
    for answer in answers:
        fed = torch.cat([embeddings, model.get_input_embeddings()(torch.tensor(answer))])
        logprobs = model(inputs_embeds=fed[None], use_cache=False).logits[0].log_softmax(dim=-1)
        sums.append(sum(logprobs[len(PROMPT) - 1 + j, token] for j, token in enumerate(answer)))
    return sums[0] if len(answers) == 1 else torch.stack(sums).log_softmax(dim=0)[chosen]


def embedded(model, context):
    return model.get_input_embeddings()(torch.tensor(context.prompt.token_ids)).detach()


def by_unit(tokens):
    return [float(tokens[start:end].sum()) for start, end in SPANS]


@pytest.mark.parametrize("continuations", [None, CHOICES], ids=["generation", "choices"])
@pytest.mark.parametrize("family", FAMILIES)
def test_value_is_what_perturbation_methods_explain(tiny_model, family, continuations):
    context = context_of(tiny_model(family), choices=continuations)
    answer = EmbeddedAnswer(context)
    game = context.game
    if continuations is None:
        # Nobody asked for the answer with the outcome.
        alone = answer_game(context.backend, game.prompt, game.units, game.recipe, game.answer)
        expected = float(alone.full.token_logprobs.sum())
    else:
        expected = float(game.full.logprobs[0, game.answer.chosen])
    assert answer(answer.prompt).item() == pytest.approx(expected, abs=CLOSE_LOGPROBS, rel=1e-5)


@pytest.mark.parametrize("continuations", [None, CHOICES], ids=["generation", "choices"])
@pytest.mark.parametrize("family", FAMILIES)
def test_input_x_gradient_by_hand(tiny_model, family, continuations):
    model = tiny_model(family)
    context = context_of(model, choices=continuations)
    exact = copy.deepcopy(model).double()
    embeddings = embedded(exact, context).requires_grad_()
    answer = context.game.answer
    value = value_of(exact, embeddings, answer.candidates.token_ids, answer.chosen)
    (gradient,) = torch.autograd.grad(value, embeddings)
    expected = by_unit((gradient * embeddings).detach().sum(dim=1))
    found = input_x_gradient(context)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * max(map(abs, expected)))


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_integrated_gradients_by_hand(tiny_model, family):
    model = tiny_model(family)
    context = context_of(model, max_new_tokens=2)
    exact = copy.deepcopy(model).double()
    embeddings, answer = embedded(exact, context), context.game.answer
    baseline = embeddings.clone()
    for start, end in SPANS:
        baseline[start:end] = exact.get_input_embeddings()(torch.tensor([1])).detach()
    points, weights = np.polynomial.legendre.leggauss(5)
    total = torch.zeros_like(embeddings)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        between = (baseline + point * (embeddings - baseline)).requires_grad_()
        value = value_of(exact, between, answer.candidates.token_ids, answer.chosen)
        total += weight * torch.autograd.grad(value, between)[0]
    expected = by_unit((total * (embeddings - baseline)).sum(dim=1))
    found = integrated_gradients(context, 5)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * max(map(abs, expected)))


@pytest.mark.parametrize("continuations", [None, CHOICES], ids=["generation", "choices"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen2", "gemma2"])
def test_integrated_gradients_are_complete(make_tiny_model, family, continuations):
    """They add up to the difference between the prompt and its baseline, with as many steps as are made."""
    # A network about as smooth as a trained one.
    context = context_of(make_tiny_model(family, initializer_range=0.1), choices=continuations)
    answer = EmbeddedAnswer(context)
    difference = (answer(answer.prompt) - answer(answer.without_units())).item()
    assert abs(difference) > 1e-2
    assert sum(integrated_gradients(context)) == pytest.approx(difference, rel=0.02)


def test_baseline_is_silent_where_units_are(tiny_model):
    context = context_of(tiny_model("llama"))
    answer = EmbeddedAnswer(context)
    silent = (answer.without_units() == answer.prompt).all(dim=2)[0].tolist()
    covered = {place for start, end in SPANS for place in range(start, end)}
    assert [not kept for kept in silent] == [place in covered for place in range(len(PROMPT))]


def test_baseline_of_a_model_without_end_of_sequence(make_tiny_model):
    model = make_tiny_model("llama")
    model.config.eos_token_id = model.generation_config.eos_token_id = None
    answer = EmbeddedAnswer(context_of(model))
    mean = model.get_input_embeddings().weight.mean(dim=0)
    torch.testing.assert_close(answer.without_units()[0, SPANS[0][0]], mean.detach())


@pytest.mark.parametrize("continuations", [None, CHOICES], ids=["generation", "choices"])
@pytest.mark.parametrize("method", METHODS)
def test_units_that_the_model_ignores_score_0(make_tiny_model, method, continuations):
    context = context_of(
        read_last_token_only(make_tiny_model("llama")), spans=[*SPANS, (13, 14)], choices=continuations
    )
    *ignored, last = method(context)
    assert not any(ignored)
    assert last != 0


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_answer_depends_on_nothing(tiny_model, method):
    context = context_of(tiny_model("llama"), answer=[1])
    assert context.game.answer.token_ids == ()
    assert not any(method(context))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_model_is_left_as_it_was(make_tiny_model, method, trainable, dtype):
    model = make_tiny_model("llama").to(dtype).requires_grad_(trainable)
    model.gradient_checkpointing_enable()
    context = context_of(model)
    weights = copy.deepcopy(model.state_dict())
    tokens = context.backend.model_tokens
    with torch.inference_mode():  # as loudly as an evaluation can ask for no gradients
        found = method(context)
    assert np.isfinite(found).all()
    assert any(found)
    assert context.backend.model_tokens > tokens
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad is trainable for parameter in model.parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_batches_do_not_matter(tiny_model):
    one, many = (integrated_gradients(context_of(tiny_model("llama"), batch_size=size)) for size in (1, 32))
    np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-4)


def test_batches_shrink_where_memory_runs_out(tiny_model, monkeypatch):
    context = context_of(tiny_model("llama"), batch_size=8)
    expected, fed = integrated_gradients(context), []
    read = type(context.backend).embedded_logits

    def limited(self, embeddings, keep):
        fed.append(len(embeddings))
        if len(embeddings) > 3:
            raise torch.OutOfMemoryError
        return read(self, embeddings, keep)

    monkeypatch.setattr(type(context.backend), "embedded_logits", limited)
    np.testing.assert_allclose(integrated_gradients(context), expected, rtol=1e-3, atol=1e-4)
    assert fed[:3] == [8, 4, 2]


def test_too_little_memory_is_said(tiny_model, monkeypatch):
    context = context_of(tiny_model("llama"), batch_size=None)
    monkeypatch.setattr(type(context.backend), "gradient_memory", lambda *_: Need(0, 2**60))
    with pytest.raises(BudgetError, match="memory_budget"):
        integrated_gradients(context)


@pytest.mark.parametrize("method", METHODS)
def test_other_backends_are_refused(tiny_model, method):
    context = context_of(tiny_model("llama"))
    assert refuses_gradients(context.backend) is None
    assert refuses_gradients(object()) is not None  # type: ignore[arg-type]
    object.__setattr__(context, "backend", object())
    with pytest.raises(UnsupportedModelError, match="need a model of transformers"):
        method(context)
