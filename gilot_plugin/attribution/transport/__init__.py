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
from gilot_plugin.attribution.transport.residual import Residual
from gilot_plugin.attribution.transport.sinkhorn import Sinkhorn
from gilot_plugin.attribution.transport.tolerance import Tolerance

__all__ = [
    "Coupling",
    "FloatArray",
    "Solver",
    "TransportProblem",
    "TransportResult",
    "make_solver",
]


def _auto(tolerance: Tolerance, device: torch.device, threads: int) -> Solver:
    return Auto(None if device.type == "cpu" else Residual(tolerance), tolerance, threads)


_MAKERS: Mapping[str, Callable[[Tolerance, torch.device, int], Solver]] = MappingProxyType(
    {
        "auto": _auto,
        "exact": lambda tolerance, device, threads: Exact(),
        "sinkhorn": lambda tolerance, device, threads: Sinkhorn(tolerance),
        "proximal": lambda tolerance, device, threads: Proximal(tolerance),
        "ipot": lambda tolerance, device, threads: Ipot(),
    }
)


def make_solver(name: str, tolerance: float, device: torch.device, threads: int = 1) -> Solver:
    """The solver of a name.

    Args:
        name: One of :data:`gilot_plugin.attribution.names.SOLVER_NAMES`.
        tolerance: Certified gap that the approximate solvers aim at, as a share of the cost; at least
            :data:`~gilot_plugin.attribution.transport.tolerance.LEAST`.
        device: Where the costs will be.
        threads: Of the exact solves that a batched ``auto`` has left over; solvers that are not batched
            expect to be called from threads.

    Raises:
        KeyError: The name is unknown.
    """
    return _MAKERS[name](Tolerance(tolerance), device, threads)
