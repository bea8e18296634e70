"""Transport of what two distributions do not have in common, certified for the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from gilot_plugin.attribution.transport import padding
from gilot_plugin.attribution.transport.certificate import feasible
from gilot_plugin.attribution.transport.entropic import Certified, Followed, follow, results_of
from gilot_plugin.attribution.transport.padding import PaddedProblems, in_chunks, padded, to_unit_range
from gilot_plugin.attribution.transport.problem import MOST_FLOWS, TransportProblem, TransportResult
from gilot_plugin.attribution.transport.shortcuts import (
    Stations,
    Ways,
    block,
    cheapest_ways,
    detour_gains,
    without_detours,
)
from gilot_plugin.attribution.transport.sinkhorn import HALVING
from gilot_plugin.attribution.transport.tolerance import Tolerance

#: Part of the tolerance that the residual problem is solved to. The rest is for what it does not see.
_INNER_SHARE = 0.5

#: Iterations after which a residual problem is left as it is. Those of language models take 60 to 400.
MAX_ITERATIONS = 1000

#: Room of a station, as a share of the mass that moves: less can hardly carry anything.
_LEAST_ROOM = 1e-3
_MOST_STATIONS = 48

#: Outcomes with most to give and to take, by whose ways stations are chosen.
_SAMPLED = 32

#: How many of the roomiest outcomes detours lead through where a bound is looked for.
_DETOURS = (0, 8, 32, 128, 512, 2048)

#: Memory by entry of the cost matrix: nine arrays of 8 bytes, should a batch pad all ways to all entries; and
#: for the result, where at most a quarter of the entries are ways, each of which may be split in three.
_ENTRY_BYTES = 72
_RESULT_BYTES = 24
_FIXED_BYTES = 2**18


class Residual:
    """Leaves what source and target have in common where it is; moves the rest by Sinkhorn's algorithm.

    Where the costs obey the triangle inequality, common mass never moves in some optimal plan. Cosine costs
    do not: a way through a third outcome can be cheaper, its mass going on while other mass takes its place.
    So the rest moves at the cost of the cheapest way, as far as the stations of the ways have room, and
    directly beyond. The bounds are those of the whole problem; where ways are too narrow or too long, the gap
    says so.

    The residual problem is small, nothing in it stays where it is, and its cost is that of the whole: an
    error that is a share of the one is that share of the other, however little moves. Sinkhorn's iterations
    on the whole problem need the more, the less moves, as many times as the mass that stays is larger.

    Args:
        tolerance: The gap to reach. It may be missed.
        most_flows: Flows of a result.
    """

    batched = True

    def __init__(self, tolerance: Tolerance, most_flows: int = MOST_FLOWS) -> None:
        self._tolerance, self._most_flows = tolerance, most_flows

    def peak_bytes(self, outcomes: int) -> int:
        """Its part of the batch's tensors, and its plan with the place of every entry."""
        return (_ENTRY_BYTES + _RESULT_BYTES) * outcomes**2 + _FIXED_BYTES

    def host_bytes(self, outcomes: int) -> int:
        """Nothing."""
        return 0

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order: a coupling, which costs ``upper``, and its certificate."""
        results: dict[int, TransportResult] = {}
        for chunk in in_chunks(problems, padding.WORKING_BYTES * padding.ENTRY_BYTES // _ENTRY_BYTES):
            batch = padded([problems[index] for index in chunk])
            solved = _solve(batch, self._tolerance, self._most_flows)
            for number, result in results_of(solved).items():
                results[chunk[number]] = result
        return [results[index] for index in range(len(problems))]


class _Rest(NamedTuple):
    """What moves.

    Attributes:
        rows: Outcomes that have too much, those with most of it first, ``[b, p]``. Some of a problem have
            nothing to give, where others of its batch have more that do.
        columns: Outcomes that have too little, likewise, ``[b, q]``.
        mass: How much moves in all, ``[b]``.
        problem: Excess and lack, each summing to 1, and the costs of the ways between them.
        ways: The ways.
        stations: What they pass.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    mass: torch.Tensor
    problem: PaddedProblems
    ways: Ways
    stations: Stations


def _solve(batch: PaddedProblems, tolerance: Tolerance, most_flows: int) -> list[Certified]:
    """Solutions of the whole problems."""
    rest = _rest(batch)
    inner = Tolerance(_INNER_SHARE * tolerance.share, _INNER_SHARE * tolerance.least)
    plan = torch.zeros_like(rest.problem.costs)
    found = sorted(follow(rest.problem, plan, inner, HALVING, MAX_ITERATIONS), key=lambda one: one.number)
    units = (rest.problem.ranges / batch.ranges / rest.mass)[:, None]
    gives = torch.stack([one.rows for one in found]).mul_(units)
    takes = torch.stack([one.columns for one in found]).mul_(units)
    gives.masked_fill_(rest.problem.source == 0.0, -torch.inf)
    takes.masked_fill_(rest.problem.target == 0.0, -torch.inf)
    back = batch._replace(source=batch.target, target=batch.source, costs=batch.costs.mT)
    lower = torch.fmax(_lower_bound(batch, rest.columns, takes), _lower_bound(back, rest.rows, gives))
    results = []
    for one, below in zip(found, lower, strict=True):
        plan = _whole_plan(batch, rest, one)
        above = (plan * batch.costs[one.number]).sum()
        results.append(Certified.of(one.number, plan, below, above, batch, most_flows))
    return results


def _rest(batch: PaddedProblems) -> _Rest:
    source, target, costs, ranges, _ = batch
    excess, lack = (source - target).clamp_min(0.0), (target - source).clamp_min(0.0)
    # Equal distributions: anything may be scaled by it, for nothing moves.
    mass = excess.sum(1)
    mass = torch.where(mass > 0.0, mass, 1.0)
    (out, rows), (into, columns) = _most(excess), _most(lack)
    some = slice(None, _SAMPLED)
    gains = detour_gains(costs, rows[:, some], columns[:, some], out[:, some], into[:, some])
    room = torch.minimum(source, target)
    stations = Stations.of(room, gains * room.clamp_max(mass[:, None]), _LEAST_ROOM * mass, _MOST_STATIONS)
    ways = cheapest_ways(costs, rows, columns, stations)
    of_ways = ways.costs.clone()
    ranges = ranges * mass * to_unit_range(of_ways)
    # Either side by its own sum: round-off is not small beside a mass that is.
    problem = PaddedProblems(_to_sum_1(out), _to_sum_1(into), of_ways, ranges, ranges)
    return _Rest(rows, columns, mass, problem, ways, stations)


def _most(masses: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The masses that are more than nothing and their places, largest first, ``[b, p]``."""
    count = max(1, int((masses > 0.0).sum(1).max()))
    largest, places = masses.topk(count, dim=1)
    return largest, places


def _to_sum_1(masses: torch.Tensor) -> torch.Tensor:
    sums = masses.sum(1, keepdim=True)
    return masses / torch.where(sums > 0.0, sums, 1.0)


def _lower_bound(batch: PaddedProblems, columns: torch.Tensor, potentials: torch.Tensor) -> torch.Tensor:
    """The best of some bounds for the whole problem, ``[b]``.

    The source's potential of an outcome is what it costs to get from there to those that lack mass, less what
    these are worth. Where a detour is cheaper, either that is the price, or the outcome on the way, having
    little room, takes a toll: which of them proves more is tried out.

    Args:
        batch: The whole problems.
        columns: Places of outcomes that lack mass, ``[b, q]``.
        potentials: What they are worth, ``[b, q]``.
    """
    source, target, costs, *_ = batch
    everywhere = torch.arange(costs.shape[1], device=costs.device).expand(len(costs), -1)
    worth = (block(costs, everywhere, columns) - potentials[:, None, :]).amin(2)
    roomiest = Stations(*reversed(torch.minimum(source, target).sort(dim=1, descending=True)))
    best = torch.zeros_like(batch.ranges)
    for count in _DETOURS:
        some = Stations(*(part[:, :count] for part in roomiest))
        tried = without_detours(worth, costs, some) if count else worth
        best = torch.fmax(best, feasible(tried, source, target, costs).value)
    return best


def _whole_plan(batch: PaddedProblems, rest: _Rest, one: Followed) -> torch.Tensor:
    """The coupling of a whole problem, ``[n, n]``, from that of its rest."""
    number = one.number
    source, target = batch.source[number], batch.target[number]
    rows, columns, ways = rest.rows[number], rest.columns[number], rest.ways.stations[number].long()
    moved = one.plan * rest.mass[number]
    # One station more, which stands for the direct way and lets nothing through.
    places = torch.nn.functional.pad(rest.stations.places[number], (0, 1))
    room = torch.nn.functional.pad(rest.stations.room[number], (0, 1))
    asked = torch.zeros_like(room).index_add_(0, ways.flatten(), moved.flatten())
    share = torch.where(asked > room, room / asked, 1.0)
    share[-1] = 0.0
    through = moved * share[ways]
    stay = torch.minimum(source, target).index_add_(0, places, -share * asked).clamp_min_(0.0)
    plan = torch.diag_embed(stay)
    at = places[ways]
    plan.index_put_((rows[:, None], columns), moved - through, accumulate=True)
    plan.index_put_((rows[:, None], at), through, accumulate=True)
    plan.index_put_((at, columns), through, accumulate=True)
    return plan
