"""A fast solver first, and the exact one for what it leaves."""

from __future__ import annotations

from collections.abc import Sequence

from gilot_plugin.attribution.transport.exact import Exact
from gilot_plugin.attribution.transport.problem import Solver, TransportProblem, TransportResult
from gilot_plugin.attribution.transport.tolerance import Tolerance


class Auto:
    """Never leaves a gap above the tolerance, unless the network simplex runs out of pivots.

    Args:
        first: Solves all problems at first; None for the exact solver alone.
        tolerance: The gap of the first solver that is accepted.
        threads: Problems that the exact solver takes at the same time.
    """

    def __init__(self, first: Solver | None, tolerance: Tolerance, threads: int = 1) -> None:
        self._first = first
        self._tolerance = tolerance
        self._exact = Exact(threads)

    @property
    def batched(self) -> bool:
        """As the first solver."""
        return self._first is not None and self._first.batched

    def peak_bytes(self, outcomes: int) -> int:
        """That of both solvers: the first one's results wait for the exact ones."""
        exact = self._exact.peak_bytes(outcomes)
        return exact if self._first is None else exact + self._first.peak_bytes(outcomes)

    def __call__(self, problems: Sequence[TransportProblem]) -> list[TransportResult]:
        """One result a problem, in their order."""
        if self._first is None:
            return self._exact(problems)
        results = self._first(problems)
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
