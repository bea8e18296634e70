"""Solvers take no more memory than they say."""

from __future__ import annotations

import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gilot_plugin.attribution.transport import column_generation, make_solver
from gilot_plugin.attribution.transport.auto import Auto
from gilot_plugin.attribution.transport.residual import Residual
from gilot_plugin.attribution.transport.tolerance import Tolerance
from tests.attribution.transport.problems import MASSES, random_problem, realistic_problem

CPU = torch.device("cpu")


class LiveBytes(TorchDispatchMode):
    """Bytes of the storages that torch operations made and that are alive, and their peak."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return result

    def _count(self, storage):
        if storage.data_ptr() in self._seen or storage.nbytes() == 0:
            return
        place, size = storage.data_ptr(), storage.nbytes()
        self._seen.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place, size):
        self._seen.discard(place)
        self.now -= size


def measured(solver, batch):
    """Peak of numpy's and of torch's memory, in bytes. What is shared by both counts twice."""
    with LiveBytes():  # imports what is imported late
        solver([random_problem(30, seed=0)])
    tracemalloc.start()
    try:
        with LiveBytes() as torchs:
            solver(batch)
        return tracemalloc.get_traced_memory()[1] + torchs.peak
    finally:
        tracemalloc.stop()


def kinds(size):
    yield realistic_problem(size, 0)
    for masses in MASSES:
        for uniform_costs in (False, True):
            yield random_problem(size, 1, masses, uniform_costs=uniform_costs, dtype=torch.float32)


@pytest.mark.parametrize("name", ["auto", "exact"])
@pytest.mark.parametrize("size", [50, 500])
def test_exact(name, size):
    solver = make_solver(name, 1e-3, CPU)
    for problem in kinds(size):
        assert measured(solver, [problem]) <= solver.peak_bytes(size)


def test_exact_on_all_arcs(monkeypatch):
    monkeypatch.setattr(column_generation, "_MAX_ROUNDS", 0)
    solver = make_solver("exact", 1e-3, CPU)
    # Of the 40 bytes an entry, 16 are the simplex's own, which nothing here sees.
    assert measured(solver, [realistic_problem(500, 0)]) <= solver.peak_bytes(500)


@pytest.mark.parametrize("name", ["sinkhorn", "proximal", "ipot"])
def test_others(monkeypatch, name):
    monkeypatch.setattr("gilot_plugin.attribution.transport.ipot._ITERATIONS", 100)
    monkeypatch.setattr("gilot_plugin.attribution.transport.entropic.MAX_ITERATIONS", 60)
    solver = make_solver(name, 1e-3, CPU)
    batch = [realistic_problem(200, seed) for seed in range(4)]
    peak = measured(solver, batch)
    assert peak <= len(batch) * solver.peak_bytes(200)
    assert solver.peak_bytes(1000) <= 120 * 1000**2 + 2**23


def test_auto_beside_the_cpu(monkeypatch):
    monkeypatch.setattr("gilot_plugin.attribution.transport.residual.MAX_ITERATIONS", 60)
    solver = Auto(Residual(Tolerance(1e-3)), Tolerance(1e-3), small=0)
    batch = [realistic_problem(150, seed) for seed in range(3)] + list(kinds(150))[1:]
    # Problems of one shape, and a batch in which each asks for the most of another side.
    for some in (batch[:3], batch):
        assert measured(solver, some) <= len(some) * solver.peak_bytes(150)
    for problem in batch:
        assert measured(solver, [problem]) <= solver.peak_bytes(150)


def test_bounds_grow_with_the_problem():
    for name in ("auto", "exact", "sinkhorn", "proximal", "ipot"):
        bounds = [make_solver(name, 1e-3, CPU).peak_bytes(size) for size in (0, 1, 10, 1000)]
        assert np.all(np.diff(bounds) > 0)
