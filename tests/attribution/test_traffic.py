"""What passes between host and device, on a pretend one: as much for few units and positions as for many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gilot_plugin.attribution import measuring
from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.distance.geometry import VocabularyGeometry
from gilot_plugin.attribution.distance.ground_costs import COSINE
from gilot_plugin.attribution.distance.solved import SolvedProblem
from gilot_plugin.attribution.distance.support import supports
from gilot_plugin.attribution.distances import optimal_transport
from gilot_plugin.attribution.methods import Distance
from gilot_plugin.attribution.transport import TransportProblem, make_solver
from gilot_plugin.attribution.transport.auto import Auto
from gilot_plugin.attribution.transport.residual import Residual
from gilot_plugin.attribution.transport.tolerance import Tolerance
from gilot_plugin.backends.scoring.distributions import Distributions
from gilot_plugin.backends.scoring.logprobs import log_odds
from gilot_plugin.backends.scoring.reducing import DenseReference, reduce, to_host
from gilot_plugin.backends.scoring.trie import SequenceReading
from gilot_plugin.backends.wanted import Nucleus, Want
from tests import pretend_device
from tests.attribution import engine_calls
from tests.attribution.engine_calls import PROMPT

DISTANCES = tuple(method for method in BUILTIN_METHODS if isinstance(method, Distance))
NUCLEUS = Nucleus(0.99, 100)
VOCABULARY = 700


class Embedded:
    """A table of embeddings, on whatever device they are."""

    def __init__(self, table):
        self.table = table

    def input(self, token_ids):
        return self.table[token_ids.to(self.table.device)]


def log_probabilities(rows, steps):
    """Full prompt first; distributions of which some need many outcomes, each row the same at every step."""
    generator = torch.Generator().manual_seed(0)
    logits = 3.0 * torch.randn(1, 1, VOCABULARY, generator=generator)
    moved = torch.randn(4, 1, VOCABULARY, generator=generator).repeat(-(-rows // 4) + 1, steps, 1)
    return (logits + moved)[: rows + 1].log_softmax(-1)


def reduced(logprobs):
    answers = logprobs[:, :, 0]
    first = torch.zeros_like(answers.flatten(), dtype=torch.long)
    odds = log_odds(logprobs.flatten(0, 1), first).view(answers.shape)
    every = Distributions(logprobs, SequenceReading(answers[:, None], odds[:, None]))
    reference = DenseReference.of(every, NUCLEUS)
    (arrived,) = to_host([reduce(every.after(1), reference, Want(NUCLEUS, DISTANCES))])
    return reference, arrived()


def supports_of(logprobs):
    reference, found = reduced(logprobs)
    return [one for row in range(len(logprobs) - 1) for one in supports(reference, found, row)]


def transported(table, supports, solver):
    geometry = VocabularyGeometry(Embedded(table), COSINE, str)
    costs = geometry.costs([one.outcomes for one in supports], [one.shared for one in supports])
    problems = [
        TransportProblem(one.source, one.target, of_one) for one, of_one in zip(supports, costs, strict=True)
    ]
    return [
        optimal_transport(SolvedProblem(one, result, geometry.largest_cost))
        for one, result in zip(supports, solver(problems), strict=True)
    ]


def counted(call):
    with pretend_device.visiting() as traffic:
        result = call()
    return traffic, result


def test_devices_are_not_mixed():
    with pretend_device.visiting():
        there = pretend_device.moved(torch.ones(3))
        assert there.device.type == "pretend"
        with pytest.raises(RuntimeError, match="host and of the device"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="host and of the device"):
            torch.ones(3)[there.long()]
        with pytest.raises(TypeError, match="no numpy array"):
            there.numpy()
        assert (there + 1.0).tolist() == [2.0] * 3


def test_passing_is_counted():
    traffic, _ = counted(lambda: (pretend_device.moved(torch.ones(3)) * 2).cpu())
    assert (traffic.to_host, traffic.to_device, traffic.waits, traffic.bytes_to_host) == (1, 0, 0, 12)
    traffic, _ = counted(lambda: float(torch.ones(3).to("pretend").sum()))
    assert (traffic.to_host, traffic.to_device, traffic.waits) == (0, 1, 1)
    traffic, _ = counted(lambda: torch.arange(3, device="pretend").nonzero())
    assert (traffic.to_host, traffic.to_device, traffic.waits) == (0, 0, 1)


def test_numbers_are_those_of_the_host():
    logprobs = log_probabilities(5, 3)
    _, (reference, found) = counted(lambda: reduced(pretend_device.moved(logprobs)))
    same_reference, same = reduced(logprobs)
    for name, numbers in found.reductions.items():
        np.testing.assert_array_equal(numbers, same.reductions[name])
    np.testing.assert_array_equal(found.token_logprobs, same.token_logprobs)
    np.testing.assert_array_equal(found.token_logodds, same.token_logodds)
    for ours, theirs in zip(found.added, same.added, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pretend_device.visiting():
        nuclei = reference.nuclei
    for (ours, masses), (theirs, same_masses) in zip(nuclei, same_reference.nuclei, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(masses, same_masses)


def test_reductions_pass_once_a_batch():
    seen = []
    for rows, steps in ((4, 1), (40, 1), (4, 10), (40, 10)):
        logprobs = log_probabilities(rows, steps)
        traffic, (_, found) = counted(lambda logprobs=logprobs: reduced(pretend_device.moved(logprobs)))
        seen.append((traffic.to_host, traffic.to_device, traffic.waits))
        # Of each unit and position, the support's ids, three numbers for each, and the distances.
        support = found.added.token_ids.shape[2] + found.added.shared.shape[2]
        assert traffic.bytes_to_host <= rows * steps * (8 * 4 + 8 + support * (8 + 3 * 4)) + 8 * rows + 64
    assert len(set(seen)) == 1
    to_host, to_device, waits = seen[0]
    assert to_host == 1
    assert to_device == 0
    assert waits <= 4


DEVICE = torch.device("cuda")  # it says how solvers are made; costs come from wherever they are
SOLVERS = {
    "auto": lambda: make_solver("auto", 1e-2, DEVICE),
    "exact": lambda: make_solver("exact", 1e-2, DEVICE),
    "sinkhorn": lambda: make_solver("sinkhorn", 1e-2, DEVICE),
    "what does not stay": lambda: Auto(Residual(Tolerance(1e-2)), Tolerance(2e-2), small=0),
}


@pytest.mark.parametrize("make", SOLVERS.values(), ids=SOLVERS.keys())
def test_transport_passes_as_often_for_few_problems_as_for_many(make):
    table = torch.randn(VOCABULARY, 8, generator=torch.Generator().manual_seed(1))
    seen = []
    for rows, steps in ((4, 1), (12, 1), (4, 3)):
        supports = supports_of(log_probabilities(rows, steps))
        traffic, found = counted(lambda s=supports: transported(pretend_device.moved(table), s, make()))
        seen.append((traffic.to_host, traffic.to_device, traffic.waits))
        expected = transported(table, supports, make_solver("exact", 1e-2, torch.device("cpu")))
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.score == pytest.approx(theirs.score, rel=2e-2, abs=1e-6)
            assert len(ours.moves) <= 16
    assert len(set(seen)) == 1, seen


def attributed(monkeypatch, make_tiny_model, units, **settings):
    monkeypatch.setattr(measuring, "ThreadPoolExecutor", pretend_device.Threads)
    prompt, spans = PROMPT * 3, [(place, place + 1) for place in range(units)]
    settings = {
        "hypotheses": "response",
        "steps": "mean",
        "max_new_tokens": 3,
        "batch_size": 200,
        "methods": engine_calls.methods("ot", "kl", "l2", "js", "tv", "logprob"),
        **settings,
    }
    alone = engine_calls.generation(make_tiny_model("llama"), prompt, spans, **settings)
    with pretend_device.visiting() as traffic:
        model = pretend_device.moved_model(make_tiny_model("llama"))
        settings = {**settings, "solver": make_solver("exact", 1e-3, DEVICE), "memory_budget": 2**30}
        found = engine_calls.generation(model, prompt, spans, **settings)
    for name, scores in alone.scores.items():
        np.testing.assert_allclose(found.scores[name], scores, rtol=1e-4, atol=1e-5, err_msg=name)
    return traffic


def test_whole_prompts_of_many_units_pass_as_often_as_those_of_few(monkeypatch, make_tiny_model):
    few, many = (attributed(monkeypatch, make_tiny_model, units) for units in (5, 42))
    assert (few.to_device, few.to_host) == (many.to_device, many.to_host)
    # The model may need a pass more.
    assert many.waits <= few.waits + 4
