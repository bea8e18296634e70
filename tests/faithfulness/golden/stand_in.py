"""What stands in for a model where two libraries measure the same."""

from __future__ import annotations

import math
from itertools import pairwise


def logit(words: list[int]) -> float:
    """A number that depends on which words there are, on their order and on their neighbours."""
    alone = sum(math.sin(7 * word) * (1 + place / 10) for place, word in enumerate(words))
    pairs = sum(math.cos(3 * one + other) for one, other in pairwise(words))
    return 0.5 * alone + 0.3 * pairs
