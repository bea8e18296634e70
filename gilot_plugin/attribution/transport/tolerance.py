"""How exact a transport cost has to be."""

from __future__ import annotations

from typing import NamedTuple

#: What no score is asked to be more exact than, in units of the ground cost. Float32 costs of embeddings and
#: logits are not.
LEAST = 1e-6


class Tolerance(NamedTuple):
    """The certified gap that a cost may have.

    Attributes:
        share: Of the cost itself: of a share of the largest ground cost, small scores would have nothing.
        least: Gap that is always allowed, in units of the ground cost.
    """

    share: float
    least: float = LEAST

    def allows(self, lower: float, upper: float) -> bool:
        """Whether a cost that lies in the interval is known well enough; never if a bound is NaN."""
        return upper - lower <= max(self.share * lower, self.least)
