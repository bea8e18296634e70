"""Ways between outcomes that lead through a third one."""

from __future__ import annotations

from typing import NamedTuple

import torch

#: Stations on a way that potentials know of. Ways through more have not been seen to matter.
_MOST_STOPS = 3


class Stations(NamedTuple):
    """Outcomes that mass may pass through, the most useful first, ``[b, s]`` each.

    Attributes:
        places: Which outcomes they are.
        room: How much can pass: what arrives takes the place of mass that goes on. 0 where a problem has
            fewer stations than others of its batch.
    """

    places: torch.Tensor
    room: torch.Tensor

    @classmethod
    def of(cls, room: torch.Tensor, use: torch.Tensor, least: torch.Tensor, most: int) -> Stations:
        """The most useful outcomes.

        Args:
            room: Of every outcome, ``[b, n]``.
            use: Of every outcome, ``[b, n]``; no station if it is 0.
            least: Room of a station, ``[b]``.
            most: Stations of a problem.
        """
        best, places = (use * (room >= least[:, None])).topk(min(most, room.shape[1]), dim=1)
        count = max(1, int((best > 0.0).sum(1).max()))
        return cls(places[:, :count], (room.gather(1, places) * (best > 0.0))[:, :count])


class Ways(NamedTuple):
    """The cheapest way from each row to each column that passes one station at most.

    Attributes:
        costs: ``[b, p, q]``.
        stations: Number of the station that it passes, the count of stations where it is direct,
            ``[b, p, q]``.
    """

    costs: torch.Tensor
    stations: torch.Tensor


def detour_gains(
    costs: torch.Tensor,
    rows: torch.Tensor,
    columns: torch.Tensor,
    excess: torch.Tensor,
    lack: torch.Tensor,
) -> torch.Tensor:
    """What the way through each outcome saves, averaged over ways, ``[b, n]``; 0 where it saves nothing.

    Args:
        costs: ``[b, n, n]``.
        rows: Places where ways begin, ``[b, p]``.
        columns: Places where they end, ``[b, q]``.
        excess: Weights of the rows, ``[b, p]``.
        lack: Weights of the columns, ``[b, q]``.
    """
    everywhere = torch.arange(costs.shape[1], device=costs.device).expand(len(costs), -1)
    direct = block(costs, rows, columns)
    to, back = block(costs, rows, everywhere), block(costs, everywhere, columns)
    gains = torch.zeros_like(costs[:, 0])
    for number in range(rows.shape[1]):
        saved = direct[:, number, None, :] - to[:, number, :, None] - back
        gains += excess[:, number, None] * (saved.clamp_min_(0.0) @ lack[:, :, None])[:, :, 0]
    return gains


def cheapest_ways(costs: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, stations: Stations) -> Ways:
    """Compare the direct way with those through each station.

    Args:
        costs: ``[b, n, n]``.
        rows: Places where ways begin, ``[b, p]``.
        columns: Places where they end, ``[b, q]``.
        stations: Where they may pass.
    """
    best = block(costs, rows, columns)
    first, second = block(costs, rows, stations.places), block(costs, stations.places, columns)
    second.masked_fill_(stations.room[:, :, None] == 0.0, torch.inf)
    count = stations.places.shape[1]
    chosen = torch.full(best.shape, count, dtype=torch.int16, device=best.device)
    for number in range(count):
        way = first[:, :, number, None] + second[:, number, None, :]
        chosen.masked_fill_(way < best, number)
        torch.minimum(best, way, out=best)
    return Ways(best, chosen)


def without_detours(potentials: torch.Tensor, costs: torch.Tensor, stations: Stations) -> torch.Tensor:
    """Lower potentials until no two differ by more than a way through stations costs.

    Args:
        potentials: Of every outcome, ``[b, n]``.
        costs: ``[b, n, n]``.
        stations: Where ways may lead through.
    """
    everywhere = torch.arange(costs.shape[1], device=costs.device).expand(len(costs), -1)
    there = block(costs, everywhere, stations.places)
    there.masked_fill_(stations.room[:, None, :] == 0.0, torch.inf)
    for _ in range(_MOST_STOPS):
        further = potentials.gather(1, stations.places)[:, None, :]
        potentials = torch.fmin(potentials, (there + further).amin(2))
    return potentials


def block(costs: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Costs from some places to others, ``[b, p, q]``, of matrices ``[b, n, n]``."""
    problems = torch.arange(len(costs), device=costs.device)[:, None, None]
    return costs[problems, rows[:, :, None], columns[:, None, :]]
