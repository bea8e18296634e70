from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.backends._vllm.told import Told, mixture

VOCAB_SIZE = 50


def whole(seed):
    logits = torch.randn(VOCAB_SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2
    return logits.log_softmax(0)


def likeliest(logprobs, count):
    top = logprobs.topk(count)
    return Told.of(top.indices.tolist(), top.values.tolist(), VOCAB_SIZE)


def test_tail_is_what_all_others_have():
    logprobs = whole(0)
    told = likeliest(logprobs, 10)
    others = [token for token in range(VOCAB_SIZE) if token not in told.token_ids]
    assert told.tail == pytest.approx(logprobs[others].exp().sum().item(), abs=1e-12)


def test_round_off_of_single_precision_is_no_tail():
    # What float32 lacks of 1 is 1e-7; 48 tokens of exp(-50) cannot have that much.
    told = Told.of([3, 4], [-1e-7, -50.0], VOCAB_SIZE)
    assert told.tail <= 48 * np.exp(-50.0)


def test_tokens_of_the_tail_are_not_told():
    told = Told.of([7, 3], [-0.5, -1.5], VOCAB_SIZE)
    assert told.at(np.array([3, 4, 7, 49])).tolist() == [-1.5, -np.inf, -0.5, -np.inf]


def test_nucleus_has_the_token_that_reaches_the_mass():
    told = Told.of([5, 1, 9], np.log([0.5, 0.3, 0.1]).tolist(), VOCAB_SIZE)
    assert told.nucleus(0.5, 10).tolist() == [5]
    assert told.nucleus(0.51, 10).tolist() == [1, 5]
    assert told.nucleus(0.99, 10).tolist() == [1, 5, 9]  # all that is told
    assert told.nucleus(0.99, 2).tolist() == [1, 5]


def test_entropy_is_that_with_the_tail_as_one_outcome():
    told = Told.of([5, 1], np.log([0.5, 0.25]).tolist(), VOCAB_SIZE)
    assert told.entropy == pytest.approx(1.5 * np.log(2))
    assert likeliest(whole(1), 10).entropy <= -(whole(1) * whole(1).exp()).sum().item()


@pytest.mark.parametrize("token", [0, 1, 2, 3])
def test_logodds_of_told_tokens_and_of_others(token):
    logprobs = whole(2)
    told = likeliest(logprobs, 10)
    others = torch.cat((logprobs[:token], logprobs[token + 1 :])).logsumexp(0)
    assert told.logodds(token, logprobs[token].item()) == pytest.approx((logprobs[token] - others).item())


def test_logodds_of_what_is_all_but_certain_is_finite_and_no_round_off():
    told = Told.of([3, 4], [0.0, -40.0], 2)
    assert told.logodds(3, 0.0) == pytest.approx(40.0)


def test_mixture_keeps_in_the_tail_what_a_part_does_not_tell():
    one, other = Told.of([1, 2], np.log([0.6, 0.2]), 10), Told.of([2, 3], np.log([0.5, 0.4]), 10)
    mixed = mixture([(one, np.log(0.03)), (other, np.log(0.01))])
    assert mixed.token_ids.tolist() == [1, 2, 3]
    assert np.exp(mixed.logprobs) == pytest.approx([0.45, 0.275, 0.1])
    assert mixed.tail == pytest.approx(0.75 * 0.2 + 0.25 * 0.1)
