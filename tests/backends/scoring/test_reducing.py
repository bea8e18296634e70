"""Numbers that leave the device are those of the definitions, computed apart from it in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.methods import Distance
from gilot_plugin.backends.scoring import reducing
from gilot_plugin.backends.scoring.distributions import Distributions
from gilot_plugin.backends.scoring.logprobs import entropy
from gilot_plugin.backends.scoring.reducing import DenseReference, reduce, to_host
from gilot_plugin.backends.scoring.trie import SequenceReading
from gilot_plugin.backends.wanted import Nucleus, Want

DISTANCES = tuple(method for method in BUILTIN_METHODS if isinstance(method, Distance))
NOTHING = SequenceReading(torch.zeros(3, 0, 0), None)
LEAST = float(np.finfo(np.float32).tiny)


def definitions(present, absent):
    """KL, L2, JS and TV of one pair of distributions."""
    middle = (present + absent) / 2

    def kl(one, other):
        some = one > 0
        return (one[some] * np.log(one[some] / other[some])).sum()

    floored = np.log(np.maximum(present, LEAST) / np.maximum(absent, LEAST))
    return [
        (present * floored).sum(),
        np.sqrt(((present - absent) ** 2).sum()),
        (kl(present, middle) + kl(absent, middle)) / 2,
        np.abs(present - absent).sum() / 2,
    ]


def outcomes(rows, steps, count, *, near):
    """Distributions like a language model's, near the first one or not; some outcomes are impossible."""
    generator = torch.Generator().manual_seed(rows + steps)
    logits = 4.0 * torch.randn(1, steps, count, generator=generator)
    moved = (0.01 if near else 3.0) * torch.randn(rows, steps, count, generator=generator)
    logits = logits + moved
    logits[-1, :, ::7] = -torch.inf
    return logits.log_softmax(-1)


@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("block", [1, 5000, 2**23])
@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (5, 3), (2, 6)])
def test_distances(monkeypatch, rows, steps, block, near):
    monkeypatch.setattr(reducing, "block_size", lambda device: block)
    logprobs = outcomes(1 + rows, steps, 2000, near=near)
    answers = -torch.arange(1.0, 2.0 + rows)[:, None, None]
    every = Distributions(logprobs, SequenceReading(answers, None))
    reference = DenseReference.of(every, None)
    (arrived,) = to_host([reduce(every.after(1), reference, Want(None, DISTANCES))])
    found = arrived()
    numbers = np.stack([found.reductions[distance.name] for distance in DISTANCES])
    assert numbers.shape == (4, rows, steps)
    assert numbers.dtype == np.float64
    masses = logprobs.double().exp().numpy()
    for row in range(rows):
        for step in range(steps):
            expected = definitions(masses[0, step], masses[row + 1, step])
            np.testing.assert_allclose(numbers[:, row, step], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found.token_logprobs, answers[1:])
    np.testing.assert_array_equal(reference.token_logprobs, answers[0])
    assert found.token_logodds is None
    assert found.added is None
    expected = -np.where(masses[0] > 0, masses[0] * np.log(np.maximum(masses[0], 1e-300)), 0.0).sum(1)
    assert reference.entropy == pytest.approx(expected.mean(), abs=1e-9)


@pytest.mark.parametrize("near", [False, True])
@pytest.mark.parametrize("count", [2, 1000, 128_001])
def test_sums_of_single_precision_keep_a_millionth(count, near):
    """Devices without double precision."""
    logprobs = outcomes(4, 2, count, near=near)
    for distance in DISTANCES:
        single = distance.compute(logprobs[0], logprobs[1:])
        assert single.dtype == torch.float32
        double = distance.compute(logprobs[0].double(), logprobs[1:].double())
        torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(entropy(logprobs).double(), entropy(logprobs.double()), rtol=1e-6, atol=1e-6)


def test_a_batch_with_nothing_but_the_full_prompt():
    logprobs = outcomes(1, 2, 50, near=True)
    nucleus = Nucleus(0.9, 10)
    every = Distributions(logprobs, NOTHING)
    reference = DenseReference.of(every, nucleus)
    (arrived,) = to_host([reduce(every.after(1), reference, Want(nucleus, DISTANCES))])
    assert {found.shape for found in arrived().reductions.values()} == {(0, 2)}
    assert reference.token_logprobs.shape == (0, 0)


def test_distance_of_the_wrong_shape_is_refused():
    logprobs = outcomes(3, 2, 50, near=True)
    every = Distributions(logprobs, NOTHING)
    reference = DenseReference.of(every, None)
    wrong = Distance("wrong", "", lambda present, absent: absent.sum(0))
    with pytest.raises(ValueError, match=r"'wrong' gave numbers of the shape \[2, 50\]: .* \[2, 2\]"):
        reduce(every.after(1), reference, Want(None, (wrong,)))
