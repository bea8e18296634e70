"""The outcomes that take part in a transport problem."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class Support(NamedTuple):
    """Two distributions on the outcomes that matter to them.

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


def nucleus(probabilities: FloatArray, top_p: float, top_k: int) -> NDArray[np.int64]:
    """Smallest set of outcomes whose mass reaches ``top_p``, at most ``top_k`` of them, likeliest first.

    The outcome that makes the mass reach ``top_p`` belongs to the set.
    """
    count = min(top_k, len(probabilities))
    likeliest = np.argpartition(-probabilities, count - 1)[:count]
    likeliest = likeliest[np.argsort(-probabilities[likeliest], kind="stable")]
    mass = np.cumsum(probabilities[likeliest])
    needed = int(np.searchsorted(mass, top_p)) + 1
    return likeliest[:needed].astype(np.int64)


def joint_support(source: FloatArray, target: FloatArray, top_p: float, top_k: int) -> Support:
    """Restrict two distributions to the union of their nuclei and renormalise.

    Args:
        source: ``[outcomes]``.
        target: ``[outcomes]``.
        top_p: Cumulative mass of each nucleus.
        top_k: Largest size of each nucleus.

    Returns:
        The restricted pair.
    """
    shared = np.sort(nucleus(source, top_p, top_k))
    outcomes = np.concatenate((shared, np.setdiff1d(nucleus(target, top_p, top_k), shared)))
    a, b = source[outcomes], target[outcomes]
    inside_a, inside_b = a.sum(), b.sum()
    outside_a, outside_b = (max(0.0, 1.0 - float(inside)) for inside in (inside_a, inside_b))
    return Support(outcomes, len(shared), a / inside_a, b / inside_b, outside_a, outside_b)
