"""Optimal transport between two distributions on the same outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch

from gilot_plugin.attribution.transport.auto import Auto
from gilot_plugin.attribution.transport.exact import Exact
from gilot_plugin.attribution.transport.ipot import Ipot
from gilot_plugin.attribution.transport.problem import (
    Coupling,
    FloatArray,
    Solver,
    TransportProblem,
    TransportResult,
)
from gilot_plugin.attribution.transport.proximal import Proximal
from gilot_plugin.attribution.transport.sinkhorn import Sinkhorn

__all__ = [
    "SOLVER_NAMES",
    "Coupling",
    "FloatArray",
    "Solver",
    "TransportProblem",
    "TransportResult",
    "make_solver",
]


def _auto(tolerance: float, device: torch.device, threads: int) -> Solver:
    # Sinkhorn, because it takes two thirds of the iterations of Proximal on problems of language models.
    return Auto(None if device.type == "cpu" else Sinkhorn(tolerance), tolerance, threads)


_MAKERS: Mapping[str, Callable[[float, torch.device, int], Solver]] = MappingProxyType(
    {
        "auto": _auto,
        "exact": lambda tolerance, device, threads: Exact(),
        "sinkhorn": lambda tolerance, device, threads: Sinkhorn(tolerance),
        "proximal": lambda tolerance, device, threads: Proximal(tolerance),
        "ipot": lambda tolerance, device, threads: Ipot(),
    }
)

#: Values of the setting ``solver``.
SOLVER_NAMES: tuple[str, ...] = tuple(_MAKERS)


def make_solver(name: str, tolerance: float, device: torch.device, threads: int = 1) -> Solver:
    """The solver of a name.

    Args:
        name: One of :data:`SOLVER_NAMES`.
        tolerance: Largest certified gap that the approximate solvers aim at, relative to each problem's cost
            range.
        device: Where the costs will be.
        threads: Of the exact solves that a batched ``auto`` has left over; solvers that are not batched
            expect to be called from threads.

    Raises:
        KeyError: The name is unknown.
    """
    return _MAKERS[name](tolerance, device, threads)
