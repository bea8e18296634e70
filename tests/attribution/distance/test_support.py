"""Which outcomes take part in a transport problem."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution.distance.support import joint_support, nucleus


def test_nucleus_is_the_smallest_set_that_reaches_the_mass():
    probabilities = np.array([0.1, 0.5, 0.05, 0.3, 0.05])
    assert nucleus(probabilities, 0.5, 10).tolist() == [1]
    assert nucleus(probabilities, 0.51, 10).tolist() == [1, 3]
    assert nucleus(probabilities, 0.85, 10).tolist() == [1, 3, 0]
    assert nucleus(probabilities, 0.99, 10).tolist() == [1, 3, 0, 2, 4]


def test_nucleus_is_no_larger_than_allowed():
    probabilities = np.array([0.1, 0.5, 0.05, 0.3, 0.05])
    assert nucleus(probabilities, 0.99, 2).tolist() == [1, 3]
    assert nucleus(probabilities, 0.99, 1).tolist() == [1]


def test_certain_outcome_is_enough():
    assert nucleus(np.array([0.0, 1.0, 0.0]), 0.9999, 1000).tolist() == [1]
    assert nucleus(np.array([0.0, 1.0, 0.0]), 1.0, 1000).tolist() == [1]


def test_union_is_renormalised():
    source, target = np.array([0.6, 0.3, 0.1, 0.0]), np.array([0.0, 0.1, 0.1, 0.8])
    support = joint_support(source, target, 0.6, 1000)
    assert support.outcomes.tolist() == [0, 3]
    assert support.source.tolist() == [1.0, 0.0]
    assert support.target.tolist() == [0.0, 1.0]
    assert support.outside == pytest.approx(0.4)


def test_nothing_is_outside_if_all_takes_part():
    source, target = np.array([0.25, 0.75]), np.array([0.5, 0.5])
    support = joint_support(source, target, 1.0, 1000)
    assert support.outcomes.tolist() == [0, 1]
    assert support.outside == 0.0


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 400), st.integers(0, 10_000), st.floats(0.1, 1.0), st.integers(1, 300))
def test_any_support(size, seed, top_p, top_k):
    generator = np.random.default_rng(seed)
    source, target = generator.dirichlet(np.full(size, 0.3), size=2)
    support = joint_support(source, target, top_p, top_k)
    assert len(set(support.outcomes)) == len(support.outcomes)
    assert set(support.outcomes[: support.shared]) == set(nucleus(source, top_p, top_k))
    for part in (support.outcomes[: support.shared], support.outcomes[support.shared :]):
        assert np.all(np.diff(part) > 0)
    assert len(support.outcomes) <= 2 * top_k
    assert support.source.sum() == pytest.approx(1.0)
    assert support.target.sum() == pytest.approx(1.0)
    assert 0.0 <= support.outside < 1.0
    if top_k >= size:
        assert support.outside <= 1.0 - top_p + 1e-9
    for distribution in (source, target):
        chosen = nucleus(distribution, top_p, top_k)
        assert set(chosen) <= set(support.outcomes)
        left_out = np.delete(distribution, chosen)
        assert left_out.size == 0 or distribution[chosen].min() >= left_out.max()
        # Without its last outcome it would not reach the mass.
        assert distribution[chosen[:-1]].sum() < top_p + 1e-9
