"""Beam search and scoring over many prompts at once, against ``generate`` and plain passes for one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.beam_search import _largest, beam_search
from gilot_plugin.backends.scoring.logprobs import finite_log_softmax
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.backends.wanted import BeamSearch
from gilot_plugin.errors import NonFiniteLogitsError
from tests.attribution import serial
from tests.attribution.altered_models import bias_output
from tests.attribution.engine_calls import PROMPT
from tests.backends.opening import opened

#: Prompts of different lengths, which are padded in a batch.
PROMPTS = (PROMPT, PROMPT[3:], (5,), (0, 44, 17, 230), PROMPT[::-1])


def search(backend, prompts, num_beams, max_new_tokens):
    """A beam search over prompts of which the first is read once."""
    session = opened(backend, [Row(prompt) for prompt in prompts], num_beams * (max_new_tokens + 1))
    asked = BeamSearch(num_beams, max_new_tokens, (max_new_tokens,))
    return beam_search(session, backend.limits.eos_token_ids, asked)


def distributions_after(found):
    """What follows each hypothesis, ``[rows, beams, vocab]``."""
    step = found.steps[-1]
    return step.after.logits().softmax(dim=1).view(*step.weights.shape, -1)


@pytest.mark.parametrize("bias", [0.0, 7.0, 9.0])
@pytest.mark.parametrize("family", ["llama", "mamba"])
def test_hypotheses_are_those_of_generate(make_tiny_model, family, bias):
    eos = (1, 30)
    model = bias_output(make_tiny_model(family), dict.fromkeys(eos, bias))
    model.generation_config.eos_token_id = list(eos)
    found = search(TransformersBackend(model), PROMPTS, 4, 5)
    ended = 0
    for row, prompt in enumerate(PROMPTS):
        sequences, scores = serial.generated(model, prompt, 4, 5, eos)
        hypotheses = found.beams.of_row(row)
        # Best first, and after its end each is filled.
        padded = [[*tokens, *eos[:1] * (len(sequences[0]) - len(tokens))] for tokens in hypotheses]
        assert padded == sequences
        means = found.beams.logprobs[row] / found.beams.lengths[row]
        np.testing.assert_allclose(means, scores, atol=1e-5)
        assert found.beams.ended[row].tolist() == [tokens[-1] in eos for tokens in hypotheses]
        ended += int(found.beams.ended[row].sum())
    if bias:
        assert ended > 0


@pytest.mark.parametrize("bias", [0.0, 7.0])
def test_distribution_after_each_hypothesis(make_tiny_model, bias):
    model = bias_output(make_tiny_model("llama"), {1: bias})
    found = search(TransformersBackend(model), PROMPTS, 3, 4)
    following = distributions_after(found)
    for row, prompt in enumerate(PROMPTS):
        read = serial.plain_reader(model, prompt)
        for beam, tokens in enumerate(found.beams.of_row(row)):
            logprobs = read(tokens)
            total = sum(logprobs[j, token] for j, token in enumerate(tokens))
            assert found.beams.logprobs[row, beam].item() == pytest.approx(total, abs=1e-4)
            assert found.last_tokens[row, beam] == tokens[-1]
            assert found.steps[-1].over[row, beam] == (tokens[-1] == 1)
            if tokens[-1] != 1:
                np.testing.assert_allclose(following[row, beam], np.exp(logprobs[-1]), atol=1e-5)


def test_a_batch_is_its_rows(tiny_model):
    backend = TransformersBackend(tiny_model("gpt2"))
    together = search(backend, PROMPTS, 4, 3)
    for row, prompt in enumerate(PROMPTS):
        alone = search(backend, [prompt], 4, 3)
        assert together.beams.of_row(row) == alone.beams.of_row(0)
        np.testing.assert_allclose(
            distributions_after(together)[row],
            distributions_after(alone)[0],
            rtol=0,
            atol=1e-5,
        )


def test_hypotheses_that_cannot_exist_have_probability_0(make_tiny_model):
    model = bias_output(make_tiny_model("llama"), dict.fromkeys((30, 31), 0.0), others=float("-inf"))
    found = search(TransformersBackend(model), [PROMPT], 6, 2)
    assert sorted(found.beams.of_row(0)) == [(30, 30), (30, 31), (31, 30), (31, 31)]
    assert found.beams.logprobs.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (found.beams.logprobs[0] == float("-inf")).sum() == 2


def test_hypotheses_are_different(family_model):
    found = search(TransformersBackend(family_model), PROMPTS[:3], 6, 3)
    for row in range(3):
        assert len(set(found.beams.of_row(row))) == 6


@pytest.mark.parametrize("vocab", [3, 320, 5000, 5120])
def test_largest_entries(vocab):
    values = torch.randn(7, vocab, generator=torch.Generator().manual_seed(0))
    values[:, -1] = 9.0
    found, places = _largest(values, 16)
    expected = values.topk(min(16, vocab), dim=1)
    assert torch.equal(found, expected.values)
    assert torch.equal(places, expected.indices)


def test_log_softmax_of_half_precision_is_single():
    logits = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.bfloat16)
    assert finite_log_softmax(logits).dtype == torch.float32
    assert finite_log_softmax(logits).exp().sum().item() == pytest.approx(1.0)


@pytest.mark.parametrize("logits", [[1.0, float("nan")], [float("inf"), 1.0], [float("-inf")] * 2])
def test_log_softmax_refuses_what_is_no_distribution(logits):
    with pytest.raises(NonFiniteLogitsError):
        finite_log_softmax(torch.tensor([logits]))


def test_log_softmax_takes_impossible_tokens():
    assert finite_log_softmax(torch.tensor([2.0, float("-inf")])).tolist() == [0.0, float("-inf")]
