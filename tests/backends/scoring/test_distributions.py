"""Mixing the distributions after the hypotheses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.prompt.absence import BUILTIN_ABSENCES, AbsenceContext
from gilot_plugin.attribution.types import Unit
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.distributions import Reading, read_fixed, read_published, read_searched
from gilot_plugin.backends.scoring.mixing import Mixture
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.backends.wanted import BeamSearch, Continuation, FixedHypotheses
from tests.attribution import serial
from tests.attribution.altered_models import bias_output
from tests.attribution.engine_calls import PROMPT


def mixed(weights, following):
    """The mixtures of distributions ``[rows, beams, vocab]`` by log-weights ``[rows, beams]``."""
    rows, beams, vocab = following.shape
    mixture = Mixture(rows, vocab, following.device)
    of_rows = torch.arange(rows).repeat_interleave(beams)
    mixture.add(of_rows, following.flatten(0, 1), weights.softmax(dim=1).flatten())
    return mixture.logprobs()


def test_mixture_weighs_by_probability():
    following = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    weights = torch.tensor([[0.03, 0.01]]).log()
    assert mixed(weights, following).exp()[0].tolist() == pytest.approx([0.725, 0.275])


def test_mixture_leaves_out_what_does_not_exist():
    following = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    weights = torch.tensor([[-50.0, float("-inf")]])
    assert mixed(weights, following).exp()[0].tolist() == pytest.approx([0.9, 0.1])


def test_mixture_of_very_unlikely_hypotheses_is_a_distribution():
    following = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    weights = torch.tensor([[-400.0, -401.0, -402.0], [-1e4, -1.0, -3e38]])
    total = mixed(weights, following).double().exp().sum(dim=1)
    assert total.tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_mixture_with_certain_tokens():
    mixture = Mixture(2, 3, torch.device("cpu"))
    mixture.add(torch.tensor([0]), torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([0.5]))
    mixture.add_certain(torch.tensor([0, 1, 0]), torch.tensor([2, 1, 2]), torch.tensor([0.25, 1.0, 0.25]))
    assert mixture.logprobs().exp().tolist() == [[0.25, 0.125, 0.625], [0.0, 1.0, 0.0]]


def given(backend, hypotheses, depths):
    """Outcomes of given hypotheses after the prompt."""
    after = FixedHypotheses(tuple(hypotheses), depths)
    (found,) = read_fixed(backend, [Reading([Row(PROMPT)], Row(PROMPT), after, (), False)])
    return found.distributions.logprobs[0]


def test_outcomes_are_distributions(family_model):
    backend = TransformersBackend(family_model)
    rows = [Row(PROMPT), Row(PROMPT[4:])]
    (found,) = read_searched(backend, [Reading(rows, rows[0], BeamSearch(4, 3, (3,)), (), False)])
    outcomes = found.distributions.logprobs
    assert outcomes.shape == (2, 1, 320)
    assert outcomes[:, 0].double().exp().sum(dim=1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_published_reading(make_tiny_model):
    """Ended hypotheses are filled with the end token, which counts, and read at the last position."""
    model = bias_output(make_tiny_model("llama"), {1: 7.5})
    published = next(operator for operator in BUILTIN_ABSENCES if operator.name == "published")
    absent, context = (Unit(3, 5, "", ""),), AbsenceContext(None, 0)
    search = published.without(PROMPT, absent, context)
    score = published.rescored_without(PROMPT, absent, context)
    backend = TransformersBackend(model)
    asked = Reading([search], Row(PROMPT), BeamSearch(4, 5, (5,)), (), False, [score])
    found = read_published(backend, asked)
    outcomes = found.distributions.logprobs
    hypotheses = [known.token_ids for known in found.searched.continuations]
    assert len({len(tokens) for tokens in hypotheses}) > 1
    longest = max(map(len, hypotheses))
    prompt = [*PROMPT[:3], 0, 0, *PROMPT[5:]]
    read = serial.masked_reader(model, prompt, 3, 5)
    weights, following = [], []
    for tokens in hypotheses:
        padded = (*tokens, *(1,) * (longest - len(tokens)))
        logprobs = read(padded)
        weights.append(np.exp(sum(logprobs[j, token] for j, token in enumerate(padded) if token != 0)))
        following.append(np.exp(logprobs[-1]))
    expected = np.array(weights) @ np.stack(following) / sum(weights)
    np.testing.assert_allclose(outcomes[0, 0].exp(), expected, atol=1e-6)


def test_hypothesis_that_is_impossible_under_a_row_has_no_part_in_it(make_tiny_model):
    model = bias_output(make_tiny_model("llama"), {230: float("-inf")})
    backend = TransformersBackend(model)
    both = [Continuation((230, 9), ended=False), Continuation((44, 9), ended=False)]
    outcomes, alone = given(backend, both, (1, 2)), given(backend, both[1:], (1, 2))
    np.testing.assert_allclose(outcomes.exp(), alone.exp(), atol=1e-6)


def test_weights_of_shared_hypotheses_may_be_far_apart(make_tiny_model):
    model = bias_output(make_tiny_model("llama"), {230: -4e4})
    both = [Continuation((230, 9), ended=False), Continuation((44, 9), ended=False)]
    backend = TransformersBackend(model)
    for order in (both, both[::-1]):
        outcomes, alone = given(backend, order, (1, 2)), given(backend, both[1:], (1, 2))
        np.testing.assert_allclose(outcomes.exp(), alone.exp(), rtol=0, atol=1e-6)
