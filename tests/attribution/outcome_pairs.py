"""Random pairs of outcome distributions, and random costs between outcomes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st

from gilot_plugin.attribution.distance.solved import SolvedProblem
from gilot_plugin.attribution.distance.support import supports
from gilot_plugin.attribution.methods import Distance, TransportDistance
from gilot_plugin.attribution.transport import TransportProblem, make_solver
from gilot_plugin.backends.scoring.distributions import Distributions
from gilot_plugin.backends.scoring.reducing import DenseReference, reduce, to_host
from gilot_plugin.backends.scoring.trie import SequenceReading
from gilot_plugin.backends.wanted import Nucleus, Want

EXACT = make_solver("exact", 1e-3, torch.device("cpu"))
LARGEST = 2.0


class MatrixGeometry:
    """Outcomes with given costs between them."""

    largest_cost = LARGEST

    def __init__(self, costs):
        self._costs = torch.from_numpy(costs)

    def costs(self, outcomes, shared):
        return [self._costs[chosen][:, chosen] for chosen in outcomes]

    def label(self, outcome):
        return str(outcome)


def cosine_costs(rng, size):
    """1 - cos, which breaks the triangle inequality."""
    vectors = rng.normal(size=(size, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    costs = np.clip(1.0 - vectors @ vectors.T, 0.0, LARGEST)
    np.fill_diagonal(costs, 0.0)
    return costs


def metric_costs(rng, size):
    """Distances in the unit square."""
    points = rng.uniform(size=(size, 2))
    return np.linalg.norm(points[:, None] - points, axis=2)


def wild_costs(rng, size):
    """Any numbers, in one direction other than in the other."""
    costs = rng.uniform(0.0, LARGEST, size=(size, size))
    np.fill_diagonal(costs, 0.0)
    return costs


@st.composite
def distributions(draw, count=2):
    """Distributions on as many outcomes, flat or peaked, some with impossible outcomes."""
    size = draw(st.integers(2, 25))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    drawn = []
    for _ in range(count):
        weights = rng.dirichlet(np.full(size, draw(st.sampled_from([0.05, 0.5, 5.0]))))
        if draw(st.booleans()):
            weights[rng.permutation(size)[: size // 2]] = 0.0
            weights[rng.integers(size)] += 0.1
        drawn.append(weights / weights.sum())
    return rng, drawn


def log(probabilities, dtype=torch.float64):
    """Log-probabilities; minus infinity of what is impossible."""
    return torch.as_tensor(np.asarray(probabilities), dtype=dtype).log()


def support_of(present, absent, top_p=1.0, top_k=1000):
    """The outcomes of a pair of distributions that take part in transport, as they reach the host."""
    nucleus, nothing = Nucleus(top_p, top_k), SequenceReading(torch.zeros(1, 0, 0), None)
    full, row = (Distributions(log(one)[None, None], nothing) for one in (present, absent))
    reference = DenseReference.of(full, nucleus)
    (arrived,) = to_host([reduce(row, reference, Want(nucleus))])
    (support,) = supports(reference, arrived(), 0)
    return support


def solved_pair(present, absent, geometry, top_p=1.0, top_k=1000):
    """The transport problem between two distributions, solved."""
    support = support_of(present, absent, top_p, top_k)
    (costs,) = geometry.costs([support.outcomes], [support.shared])
    (result,) = EXACT([TransportProblem(support.source, support.target, costs)])
    return SolvedProblem(support, result, geometry.largest_cost)


def score(method, present, absent, costs=None):
    """What a distance says of two distributions, all of whose outcomes take part."""
    if isinstance(method, TransportDistance):
        geometry = MatrixGeometry(1.0 - np.eye(len(present)) if costs is None else costs)
        return method.measure(solved_pair(present, absent, geometry)).score
    assert isinstance(method, Distance)
    ((number,),) = method.compute(log(present)[None], log(absent)[None, None]).tolist()
    return number
