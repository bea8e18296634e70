"""Which outcomes take part in a transport problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.backends.scoring import nuclei as module
from gilot_plugin.backends.scoring.nuclei import added_outcomes, nuclei, shared_nuclei
from tests.attribution.outcome_pairs import log, support_of


def nucleus(probabilities, top_p, top_k):
    found = nuclei(log(probabilities)[None], top_p, top_k)
    return found.outcomes[0, : int(found.sizes[0])].tolist()


def plain_nucleus(probabilities, top_p, top_k):
    """Likeliest first, until the mass is reached."""
    chosen, mass = [], 0.0
    for outcome in np.argsort(-probabilities, kind="stable")[:top_k]:
        chosen.append(int(outcome))
        mass += probabilities[outcome]
        if mass >= top_p:
            break
    return chosen


def test_nucleus_is_the_smallest_set_that_reaches_the_mass():
    probabilities = [0.1, 0.5, 0.05, 0.3, 0.05]
    assert nucleus(probabilities, 0.5, 10) == [1]
    assert nucleus(probabilities, 0.51, 10) == [1, 3]
    assert nucleus(probabilities, 0.85, 10) == [1, 3, 0]
    assert set(nucleus(probabilities, 0.99, 10)) == {0, 1, 2, 3, 4}


def test_nucleus_is_no_larger_than_allowed():
    probabilities = [0.1, 0.5, 0.05, 0.3, 0.05]
    assert nucleus(probabilities, 0.99, 2) == [1, 3]
    assert nucleus(probabilities, 0.99, 1) == [1]


def test_certain_outcome_is_enough():
    assert nucleus([0.0, 1.0, 0.0], 0.9999, 1000) == [1]
    assert nucleus([0.0, 1.0, 0.0], 1.0, 1000) == [1]


def test_union_is_renormalised():
    found = support_of([0.6, 0.3, 0.1, 0.0], [0.0, 0.1, 0.1, 0.8], 0.6)
    assert found.outcomes.tolist() == [0, 3]
    assert found.source.tolist() == [1.0, 0.0]
    assert found.target.tolist() == [0.0, 1.0]
    assert found.outside == pytest.approx(0.4)


def test_nothing_is_outside_if_all_takes_part():
    found = support_of([0.25, 0.75], [0.5, 0.5])
    assert found.outcomes.tolist() == [0, 1]
    assert found.outside == 0.0


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(0, 10_000), st.floats(0.1, 1.0), st.integers(1, 300))
def test_any_support(size, seed, top_p, top_k):
    source, target = np.random.default_rng(seed).dirichlet(np.full(size, 0.3), size=2)
    found = support_of(source, target, top_p, top_k)
    of_source, of_target = (plain_nucleus(one, top_p, top_k) for one in (source, target))
    assert found.outcomes.tolist() == sorted(of_source) + sorted(set(of_target) - set(of_source))
    assert found.shared == len(of_source)
    for ours, whole in ((found.source, source), (found.target, target)):
        np.testing.assert_allclose(ours, whole[found.outcomes] / whole[found.outcomes].sum(), rtol=1e-9)
    assert found.outside_source == pytest.approx(1.0 - source[found.outcomes].sum(), abs=1e-12)
    assert found.outside_target == pytest.approx(1.0 - target[found.outcomes].sum(), abs=1e-12)
    assert 0.0 <= found.outside < 1.0
    if top_k >= size:
        assert found.outside <= 1.0 - top_p + 1e-9


@pytest.mark.parametrize("block", [1, 2**22])
@pytest.mark.parametrize("top_k", [5, 64, 65, 300])
def test_many_rows_and_steps_at_once(monkeypatch, block, top_k):
    """Some distributions need few outcomes, others more than are looked at first."""
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.default_rng(3)
    spread = rng.choice([0.002, 0.05, 1.0], size=(4, 3))
    masses = np.stack([[rng.dirichlet(np.full(500, one)) for one in row] for row in spread])
    with np.errstate(divide="ignore"):
        logprobs = torch.tensor(np.log(masses), dtype=torch.float32)
    shared = shared_nuclei(logprobs[0], 0.99, top_k)
    added = added_outcomes(logprobs[1:], logprobs[0], shared, 0.99, top_k)
    masses = logprobs.double().exp().numpy()
    for step in range(3):
        begins = sorted(plain_nucleus(masses[0, step], 0.99, top_k))
        assert shared.outcomes[step, : shared.sizes[step]].tolist() == begins
        assert shared.members[step].nonzero()[:, 0].tolist() == begins
        assert shared.logprobs[step].isneginf().sum() >= shared.outcomes.shape[1] - shared.sizes[step]
        for row in range(3):
            more = sorted(set(plain_nucleus(masses[row + 1, step], 0.99, top_k)) - set(begins))
            size = int(added.sizes[row, step])
            assert added.outcomes[row, step, :size].tolist() == more
            assert torch.equal(added.present[row, step, :size], logprobs[0, step, more])
            assert torch.equal(added.absent[row, step, :size], logprobs[row + 1, step, more])
            ours = added.absent_shared[row, step, : len(begins)]
            assert torch.equal(ours, logprobs[row + 1, step, begins])
