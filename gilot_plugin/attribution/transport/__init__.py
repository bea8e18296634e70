"""Optimal transport between two distributions on the same outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch

from gilot_plugin.attribution.transport.auto import Auto
from gilot_plugin.attribution.transport.exact import Exact
from gilot_plugin.attribution.transport.ipot import Ipot
from gilot_plugin.attribution.transport.problem import (
    MOST_FLOWS,
    Coupling,
    FloatArray,
    Flows,
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
    "Flows",
    "Solver",
    "TransportProblem",
    "TransportResult",
    "make_solver",
]


class _Wanted(NamedTuple):
    """What a solver is made for."""

    tolerance: Tolerance
    device: torch.device
    threads: int
    most_flows: int

    @property
    def on_host(self) -> bool:
        """Whether the costs will be on the host, where threads call the solver with one problem each."""
        return self.device.type == "cpu"


def _auto(wanted: _Wanted) -> Solver:
    first = None if wanted.on_host else Residual(wanted.tolerance, wanted.most_flows)
    return Auto(first, wanted.tolerance, 1 if wanted.on_host else wanted.threads, wanted.most_flows)


def _exact(wanted: _Wanted) -> Solver:
    return Exact(1 if wanted.on_host else wanted.threads, not wanted.on_host, wanted.most_flows)


_MAKERS: Mapping[str, Callable[[_Wanted], Solver]] = MappingProxyType(
    {
        "auto": _auto,
        "exact": _exact,
        "sinkhorn": lambda wanted: Sinkhorn(wanted.tolerance, wanted.most_flows),
        "proximal": lambda wanted: Proximal(wanted.tolerance, wanted.most_flows),
        "ipot": lambda wanted: Ipot(not wanted.on_host, wanted.most_flows),
    }
)


def make_solver(
    name: str, tolerance: float, device: torch.device, threads: int = 1, most_flows: int = MOST_FLOWS
) -> Solver:
    """The solver of a name.

    Args:
        name: One of :data:`gilot_plugin.attribution.names.SOLVER_NAMES`.
        tolerance: Certified gap that the approximate solvers aim at, as a share of the cost; at least
            :data:`~gilot_plugin.attribution.transport.tolerance.LEAST`.
        device: Where the costs will be.
        threads: Of exact solves of problems that come from a device together; solvers that are not batched
            expect to be called from threads.
        most_flows: Flows of a result.

    Raises:
        KeyError: The name is unknown.
    """
    return _MAKERS[name](_Wanted(Tolerance(tolerance), device, threads, most_flows))
