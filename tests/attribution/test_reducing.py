"""Numbers that leave the device are those of the definitions, computed apart from it in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution import reducing
from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.distances import entropy
from gilot_plugin.attribution.methods import Distance
from gilot_plugin.attribution.prediction.targets import Outcomes
from gilot_plugin.attribution.reducing import Nucleus, Reference, reduce, to_host

DISTANCES = [method for method in BUILTIN_METHODS if isinstance(method, Distance)]
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
    answers = -torch.arange(1.0, 2.0 + rows)[:, None]
    reference = Reference.of(Outcomes(logprobs, answers), None)
    reduction = reduce(Outcomes(logprobs[1:], answers[1:]), reference, DISTANCES, None)
    (arrived,) = to_host([reduction])
    found = arrived()
    assert found.numbers.shape == (4, rows, steps)
    assert found.numbers.dtype == np.float64
    masses = logprobs.double().exp().numpy()
    for row in range(rows):
        for step in range(steps):
            expected = definitions(masses[0, step], masses[row + 1, step])
            np.testing.assert_allclose(found.numbers[:, row, step], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.answer_drops, 1.0 + np.arange(rows)[:, None])
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
    reference = Reference.of(Outcomes(logprobs), nucleus)
    (arrived,) = to_host([reduce(Outcomes(logprobs[1:]), reference, DISTANCES, nucleus)])
    assert arrived().numbers.shape == (4, 0, 2)
    assert np.isnan(float(reference.answer_logprob))


def test_distance_of_the_wrong_shape_is_refused():
    logprobs = outcomes(3, 2, 50, near=True)
    reference = Reference.of(Outcomes(logprobs), None)
    wrong = Distance("wrong", "", lambda present, absent: absent.sum(0))
    with pytest.raises(ValueError, match=r"'wrong' gave numbers of the shape \[2, 50\]: .* \[2, 2\]"):
        reduce(Outcomes(logprobs[1:]), reference, [wrong], None)
