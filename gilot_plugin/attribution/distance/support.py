"""The outcomes that take part in transport problems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gilot_plugin.backends.scorer import Outcomes, Reference

FloatArray = NDArray[np.float64]


class Support(NamedTuple):
    """Two distributions on the outcomes that matter to them, on the host.

    Attributes:
        outcomes: Indices of the outcomes, ``[n]``: the first distribution's own nucleus, ascending, then
            what the second one adds to it, ascending.
        shared: Number of outcomes in the first distribution's nucleus, which all its supports begin with.
        source: The first distribution on them, renormalised, ``[n]``.
        target: The second one, ``[n]``.
        outside_source: Mass of the first distribution that was left out.
        outside_target: Mass of the second one that was left out.
    """

    outcomes: NDArray[np.int64]
    shared: int
    source: FloatArray
    target: FloatArray
    outside_source: float
    outside_target: float

    @property
    def outside(self) -> float:
        """The larger of the two masses that were left out."""
        return max(self.outside_source, self.outside_target)

    @classmethod
    def of(cls, outcomes: NDArray[np.int64], shared: int, source: FloatArray, target: FloatArray) -> Support:
        """Renormalise.

        Args:
            outcomes: ``[n]``.
            shared: Number of the first ones that are the first distribution's nucleus.
            source: Its probabilities, ``[n]``.
            target: The second distribution's, ``[n]``.
        """
        inside_a, inside_b = source.sum(), target.sum()
        outside_a, outside_b = (max(0.0, 1.0 - float(inside)) for inside in (inside_a, inside_b))
        return cls(outcomes, shared, source / inside_a, target / inside_b, outside_a, outside_b)


def supports(reference: Reference, outcomes: Outcomes, row: int) -> Iterator[Support]:
    """The outcomes that take part in the transport problems of a row, position by position."""
    added = outcomes.added
    assert added is not None  # asked for where something is transported
    of_reference, of_row, shared = (
        np.exp(part[row].astype(np.float64)) for part in (added.of_reference, added.of_rows, added.shared)
    )
    for position, (known, masses) in enumerate(reference.nuclei):
        size, count = int(added.sizes[row, position]), len(known)
        yield Support.of(
            np.concatenate((known, added.token_ids[row, position, :size])),
            count,
            np.concatenate((masses, of_reference[position, :size])),
            np.concatenate((shared[position, :count], of_row[position, :size])),
        )
