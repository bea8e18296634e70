"""The exact solver where it is fast, a batched one elsewhere, and the exact one for what that leaves."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gilot_plugin.attribution.transport.exact import Exact
from gilot_plugin.attribution.transport.problem import (
    MOST_FLOWS,
    Solver,
    TransportProblem,
    TransportResult,
    on_host,
)
from gilot_plugin.attribution.transport.tolerance import Tolerance

#: Outcomes up to which a core solves problems exactly in 2 ms, some hundreds of them while a model reads one
#: batch.
SMALL = 256


class Auto:
    """Never leaves a gap above the tolerance, unless the network simplex runs out of pivots.

    Small problems are solved exactly on the host while the first solver has the large ones.

    Args:
        first: Solves large problems at first; None for the exact solver alone.
        tolerance: The gap of the first solver that is accepted.
        threads: Problems that the exact solver takes at the same time.
        most_flows: Flows of a result.
        small: Outcomes of the largest problem that is not given to the first solver.
    """

    def __init__(
        self,
        first: Solver | None,
        tolerance: Tolerance,
        threads: int = 1,
        most_flows: int = MOST_FLOWS,
        small: int = SMALL,
    ) -> None:
        self._first, self._tolerance, self._small = first, tolerance, small
        self._exact = Exact(threads, most_flows=most_flows, allowed_gap=tolerance.least)

    @property
    def batched(self) -> bool:
        """As the first solver."""
        return self._first is not None and self._first.batched

    def peak_bytes(self, outcomes: int) -> int:
        """That of both solvers: the first one's results wait for the exact ones."""
        exact = self._exact.peak_bytes(outcomes)
        return exact if self._first is None else exact + self._first.peak_bytes(outcomes)

    def host_bytes(self, outcomes: int) -> int:
        """What the exact solver takes."""
        return self._exact.peak_bytes(outcomes)

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order."""
        if self._first is None:
            return self._exact(problems)
        large = [index for index, problem in enumerate(problems) if len(problem.source) > self._small]
        small = sorted(set(range(len(problems))) - set(large))
        # Brought here, in the order of what the device does, rather than in another thread.
        on_hand = on_host([problems[index] for index in small])
        with ThreadPoolExecutor(1, thread_name_prefix="gilot-exact") as beside:
            exact = beside.submit(self._exact.solve, on_hand)
            found = self._certified(self._first, [problems[index] for index in large])
            results = dict(zip(small, exact.result(), strict=True)) | dict(zip(large, found, strict=True))
        return [results[index] for index in range(len(problems))]

    def _certified(self, first: Solver, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """Results of the first solver, and of the exact one where they are not good enough."""
        results = first(problems)
        wide = [
            index
            for index, result in enumerate(results)
            if not self._tolerance.allows(result.lower, result.upper)
        ]
        for index, second in zip(wide, self._exact([problems[index] for index in wide]), strict=True):
            # An exact solver that ran out of pivots may be the worse of the two.
            better = results[index] if second.gap > results[index].gap else second
            results[index] = better._replace(left_over=True)
        return results
