"""Where outcomes lie: vectors of tokens and choices, kept between calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from gilot_plugin.attribution.distance.geometry import ChoiceGeometry, VocabularyGeometry
from gilot_plugin.attribution.distance.ground_costs import COSINE, ground_cost
from gilot_plugin.backends.transformers import TransformersBackend
from tests.attribution.serial_distances import embeddings_of, ground_costs

GROUND_COSTS = ("cosine", "centered", "output", "angular", "truncated")


def test_vocabulary_uses_the_input_embeddings(tiny_model):
    model = tiny_model("gpt2")
    geometry = VocabularyGeometry(TransformersBackend(model).embeddings, COSINE, "token {}".format)
    chosen = np.array([4, 200, 33])
    vectors = model.transformer.wte.weight.detach()[chosen]
    np.testing.assert_allclose(geometry.costs([chosen], [1])[0], cdist(vectors, vectors, "cosine"), atol=1e-6)
    assert geometry.label(33) == "token 33"


@pytest.mark.parametrize("name", GROUND_COSTS)
@pytest.mark.parametrize("tied", [False, True])
def test_every_ground_cost_of_tokens_and_choices(make_tiny_model, name, tied):
    model = make_tiny_model("llama", tie_word_embeddings=tied)
    backend, ground, table = TransformersBackend(model), ground_cost(name), embeddings_of(model, name)
    chosen = np.array([4, 200, 33, 7, 8])
    geometry = VocabularyGeometry(backend.embeddings, ground, str)
    found = geometry.costs([chosen], [2])[0]
    np.testing.assert_allclose(found, ground_costs(table[chosen], name), atol=2e-6)
    choices = [(4, 5, 6), (7,), (8, 9)]
    means = torch.stack([table[list(ids)].mean(dim=0) for ids in choices])
    among = ChoiceGeometry(backend.embeddings, ground, choices, ["a", "b", "c"])
    np.testing.assert_allclose(among.costs([np.arange(3)], [3])[0], ground_costs(means, name), atol=2e-6)
    for costs, largest in (
        (found, geometry.largest_cost),
        (among.costs([np.arange(3)], [3])[0], among.largest_cost),
    ):
        assert costs.diag().tolist() == [0.0] * len(costs)
        assert float(costs.min()) >= 0.0
        assert float(costs.max()) <= largest


def test_output_costs_are_the_cosine_ones_where_weights_are_tied(make_tiny_model):
    tokens = np.arange(50)

    def costs(name, tied):
        backend = TransformersBackend(make_tiny_model("llama", tie_word_embeddings=tied))
        return VocabularyGeometry(backend.embeddings, ground_cost(name), str).costs([tokens], [20])[0]

    assert torch.equal(costs("output", tied=True), costs("cosine", tied=True))
    assert (costs("output", tied=False) - costs("cosine", tied=False)).abs().max() > 0.1


@pytest.mark.parametrize("name", GROUND_COSTS)
@pytest.mark.parametrize("kept_bytes", [0, 2**28])
def test_what_is_kept_changes_no_bit(monkeypatch, tiny_model, kept_bytes, name):
    monkeypatch.setattr("gilot_plugin.attribution.distance.geometry._KEPT_BYTES", kept_bytes)
    backend = TransformersBackend(tiny_model("gpt2"))
    calls = [([3, 8, 90], 2), ([3, 8, 7, 100, 2], 2), ([9, 1, 2], 1), ([3, 8, 90], 2), ([5, 6], 0)]
    kept = VocabularyGeometry(backend.embeddings, ground_cost(name), str)
    for outcomes, shared in calls:
        (alone,) = VocabularyGeometry(backend.embeddings, ground_cost(name), str).costs(
            [np.array(outcomes)], [shared]
        )
        assert torch.equal(kept.costs([np.array(outcomes)], [shared])[0], alone)


def test_memory_of_what_is_kept_is_bounded(monkeypatch, tiny_model):
    monkeypatch.setattr("gilot_plugin.attribution.distance.geometry._KEPT_BYTES", 2**14)
    geometry = VocabularyGeometry(TransformersBackend(tiny_model("gpt2")).embeddings, COSINE, str)
    for first in range(40):
        geometry.costs([np.arange(first, first + 20)], [18])[0]
    assert 0 < sum(kept.nbytes for kept in geometry._kept.values()) <= 2**14


def test_choices_use_the_mean_of_their_tokens(tiny_model):
    model = tiny_model("llama")
    geometry = ChoiceGeometry(
        TransformersBackend(model).embeddings, COSINE, [(4, 5, 6), (7,), (8, 9)], ["a", "b", "c"]
    )
    weight = model.model.embed_tokens.weight.detach()
    means = torch.stack([weight[[4, 5, 6]].mean(0), weight[7], weight[[8, 9]].mean(0)])
    expected = cdist(means, means, "cosine")
    np.testing.assert_allclose(geometry.costs([np.array([0, 1, 2])], [2])[0], expected, atol=1e-6)
    chosen = np.array([2, 0])
    np.testing.assert_allclose(geometry.costs([chosen], [1])[0], expected[np.ix_(chosen, chosen)], atol=1e-6)
    assert geometry.label(1) == "b"


@pytest.mark.parametrize("chosen", [[0], [1]])
def test_single_choice(tiny_model, chosen):
    geometry = ChoiceGeometry(
        TransformersBackend(tiny_model("llama")).embeddings, COSINE, [(4,), (5,)], ["a", "b"]
    )
    assert geometry.costs([np.array(chosen)], [1])[0].tolist() == [[0.0]]
