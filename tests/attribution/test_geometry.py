"""Ground costs: 1 - cosine, exactly 0 between an outcome and itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from gilot_plugin.attribution.geometry import (
    ChoiceGeometry,
    Directions,
    VocabularyGeometry,
    cosine_costs,
)
from gilot_plugin.backends.transformers import TransformersBackend


def test_cosine_costs_are_scipys():
    vectors = torch.randn(30, 8, generator=torch.Generator().manual_seed(0))
    costs = cosine_costs(vectors)
    np.testing.assert_allclose(costs, cdist(vectors.double(), vectors.double(), "cosine"), atol=1e-6)
    assert costs.dtype == torch.float32


def test_extremes():
    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0], [0.0, 0.5], [0.0, 0.0]])
    expected = [[0, 0, 2, 1, 1], [0, 0, 2, 1, 1], [2, 2, 0, 1, 1], [1, 1, 1, 0, 1], [1, 1, 1, 1, 0]]
    assert cosine_costs(vectors).tolist() == expected


def test_costs_are_never_negative_and_0_on_the_diagonal():
    direction = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    costs = cosine_costs(direction * torch.logspace(-6, 6, 50).unsqueeze(1))
    assert costs.min() >= 0.0
    assert costs.max() < 1e-6
    assert costs.diag().tolist() == [0.0] * 50


def test_half_precision_is_computed_in_single():
    vectors = torch.randn(10, 16, generator=torch.Generator().manual_seed(2)).bfloat16()
    np.testing.assert_allclose(cosine_costs(vectors), cosine_costs(vectors.float()), atol=1e-7)


def test_vocabulary_uses_the_input_embeddings(tiny_model):
    model = tiny_model("gpt2")
    geometry = VocabularyGeometry(TransformersBackend(model), "token {}".format)
    chosen = np.array([4, 200, 33])
    vectors = model.transformer.wte.weight.detach()[chosen]
    np.testing.assert_allclose(geometry.costs(chosen, 1), cdist(vectors, vectors, "cosine"), atol=1e-6)
    assert geometry.label(33) == "token 33"


@pytest.mark.parametrize("shared", [0, 1, 5, 8])
def test_costs_with_more_vectors_are_those_of_all(shared):
    vectors = torch.randn(8, 16, generator=torch.Generator().manual_seed(3))
    costs = Directions.of(vectors[:shared]).costs_with(vectors[shared:])
    np.testing.assert_allclose(costs, cosine_costs(vectors), atol=1e-6)
    assert costs.diag().tolist() == [0.0] * 8


@pytest.mark.parametrize("kept_bytes", [0, 2**28])
def test_what_is_kept_changes_no_bit(monkeypatch, tiny_model, kept_bytes):
    monkeypatch.setattr("gilot_plugin.attribution.geometry._KEPT_BYTES", kept_bytes)
    backend = TransformersBackend(tiny_model("gpt2"))
    calls = [([3, 8, 90], 2), ([3, 8, 7, 100, 2], 2), ([9, 1, 2], 1), ([3, 8, 90], 2), ([5, 6], 0)]
    kept = VocabularyGeometry(backend, str)
    for outcomes, shared in calls:
        alone = VocabularyGeometry(backend, str).costs(np.array(outcomes), shared)
        assert torch.equal(kept.costs(np.array(outcomes), shared), alone)


def test_memory_of_what_is_kept_is_bounded(monkeypatch, tiny_model):
    monkeypatch.setattr("gilot_plugin.attribution.geometry._KEPT_BYTES", 2**14)
    geometry = VocabularyGeometry(TransformersBackend(tiny_model("gpt2")), str)
    for first in range(40):
        geometry.costs(np.arange(first, first + 20), 18)
    assert 0 < sum(kept.nbytes for kept in geometry._kept.values()) <= 2**14


def test_choices_use_the_mean_of_their_tokens(tiny_model):
    model = tiny_model("llama")
    geometry = ChoiceGeometry(TransformersBackend(model), [(4, 5, 6), (7,), (8, 9)], ["a", "b", "c"])
    weight = model.model.embed_tokens.weight.detach()
    means = torch.stack([weight[[4, 5, 6]].mean(0), weight[7], weight[[8, 9]].mean(0)])
    expected = cdist(means, means, "cosine")
    np.testing.assert_allclose(geometry.costs(np.array([0, 1, 2]), 2), expected, atol=1e-6)
    chosen = np.array([2, 0])
    np.testing.assert_allclose(geometry.costs(chosen, 1), expected[np.ix_(chosen, chosen)], atol=1e-6)
    assert geometry.label(1) == "b"


@pytest.mark.parametrize("chosen", [[0], [1]])
def test_single_choice(tiny_model, chosen):
    geometry = ChoiceGeometry(TransformersBackend(tiny_model("llama")), [(4,), (5,)], ["a", "b"])
    assert geometry.costs(np.array(chosen), 1).tolist() == [[0.0]]
