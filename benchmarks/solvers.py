"""Solvers of transport on problems that a model really poses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import ot
import torch
from published import Problem, evenly_spaced, ipot, outcome, problem
from rich.console import Console
from rich.table import Table
from timing import spread, timed
from workload import Workload

from gilot_plugin.attribution.transport import TransportProblem, make_solver

#: Enough for the network simplex to end by itself.
_ITERATIONS = 10_000_000


def report(workload: Workload, problems: int, console: Console) -> None:
    """Print seconds a problem and the largest error of each solver."""
    posed = _problems(workload, problems)
    sizes = [len(each.source) for each in posed]
    exact, reference = _time(partial(_network_simplex, value_only=True), posed)
    table = Table("", "s a problem", "times faster than ot.emd2", "largest error")
    table.add_row("ot.emd2, float64", spread(exact), "1", "0")
    solvers: dict[str, tuple[Callable[[Problem], float], list[Problem]]] = {
        "ot.emd, float64, with its plan": (partial(_network_simplex, value_only=False), posed),
        "gilot_plugin, exact": (_ours("exact", workload.device), posed),
        "gilot_plugin, auto": (_ours("auto", workload.device), posed),
        "IPOT, 1000 iterations": (ipot, posed[:2]),
    }
    for name, (solve, some) in solvers.items():
        seconds, costs = _time(solve, some)
        faster = [whole / one for whole, one in zip(exact, seconds, strict=False)]
        error = max(abs(cost - true) for cost, true in zip(costs, reference, strict=False))
        table.add_row(name, spread(seconds), spread(faster), f"{error:.1e}")
    console.print(table)
    console.print(
        f"{len(posed)} problems of {min(sizes)} to {max(sizes)} outcomes, one at a time, IPOT on two. "
        "Ratios are taken problem by problem. On a GPU, an attribution gives auto several at once."
    )


def _problems(workload: Workload, wanted: int) -> list[Problem]:
    """From the outcomes of the prompt with each of some tokens absent."""
    ask = partial(outcome, workload.model, workload.token_ids)
    present = ask(None, workload.num_beams, workload.max_new_tokens)
    places = evenly_spaced(len(workload.token_ids), wanted)
    return [
        problem(workload.model, present, ask(place, workload.num_beams, workload.max_new_tokens))
        for place in places
    ]


def _time(solve: Callable[[Problem], float], problems: list[Problem]) -> tuple[list[float], list[float]]:
    """Seconds and cost of each."""
    solved = [timed(partial(solve, each)) for each in problems]
    return [seconds for _, seconds in solved], [cost for cost, _ in solved]


def _network_simplex(given: Problem, value_only: bool) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, target = given.source / given.source.sum(), given.target / given.target.sum()
        if value_only:
            return float(ot.emd2(source, target, given.costs, numItermax=_ITERATIONS))
        plan = ot.emd(source, target, given.costs, numItermax=_ITERATIONS)
        return float(np.sum(plan * given.costs))


def _ours(name: str, device: torch.device) -> Callable[[Problem], float]:
    solver = make_solver(name, 1e-3, device)

    def solve(given: Problem) -> float:
        costs = torch.from_numpy(given.costs).float().clamp_(min=0).fill_diagonal_(0).to(device)
        (result,) = solver([TransportProblem(given.source, given.target, costs)])
        return float(result.cost)

    return solve
