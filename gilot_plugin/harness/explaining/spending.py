"""The setting ``budget``: how much may be explained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain, zip_longest

from gilot_plugin.extension.samples import Sample
from gilot_plugin.settings.fields import Budget


def by_turns(samples: Sequence[Sample]) -> list[Sample]:
    """One sample of each task after the other, so that a budget starves none of them."""
    tasks: dict[str, list[Sample]] = {}
    for sample in samples:
        tasks.setdefault(sample.identity.task, []).append(sample)
    return [sample for sample in chain.from_iterable(zip_longest(*tasks.values())) if sample is not None]


def affordable(samples: Sequence[Sample], budget: Budget | None, explained: int) -> list[Sample]:
    """The samples that are to be explained, in the order in which they are.

    Args:
        samples: Chosen samples without a record.
        budget: The budget, None for no limit.
        explained: Samples that have a record already, which count.
    """
    if budget is None:
        return list(samples)
    turns = by_turns(samples)
    return turns if budget.samples is None else turns[: max(0, budget.samples - explained)]


class Clock:
    """Tells when the minutes of a budget are over.

    Args:
        budget: The budget, None for no limit; the time starts now.
    """

    def __init__(self, budget: Budget | None) -> None:
        minutes = budget.minutes if budget is not None else None
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    @property
    def is_over(self) -> bool:
        """Whether no other sample may be begun."""
        return self._end is not None and time.monotonic() >= self._end
