"""Batches that fit into the memory at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from gilot_plugin.errors import BudgetError

_LOGGER = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

#: Beyond this, larger batches gain nothing and progress is seldom reported.
_MAX_ROWS = 256


class BatchPlan:
    """How many rows go through the model together; shrinks when the device runs out of memory.

    Args:
        batch_size: Rows a batch, None to take as many as the budget allows.
        budget: Bytes that the rows of a batch may take together.
        row_bytes: Bytes that one row takes at its peak.

    Raises:
        BudgetError: One row does not fit the budget.

    Attributes:
        size: Rows a batch, at present.
    """

    def __init__(self, batch_size: int | None, budget: int, row_bytes: int) -> None:
        if batch_size is None:
            if budget < row_bytes:
                raise BudgetError(
                    f"one prompt of the search needs about {_mib(row_bytes)} MiB, {_mib(budget)} MiB may be "
                    "used: raise memory_budget, or lower num_beams or max_new_tokens"
                )
            batch_size = min(budget // max(row_bytes, 1), _MAX_ROWS)
        self.size = batch_size

    def shrink(self) -> bool:
        """Halve the batch; False if it is a single row already."""
        if self.size == 1:
            return False
        self.size //= 2
        return True


def in_batches(
    items: Sequence[_Item], compute: Callable[[Sequence[_Item]], _Result], plan: BatchPlan
) -> Iterator[_Result]:
    """Compute all items in batches, in order; on out-of-memory the batch is halved and tried again.

    Args:
        items: What to compute.
        compute: Computes a batch.
        plan: Says how large a batch is, and is told when that was too large.

    Yields:
        The result of each batch.

    Raises:
        torch.OutOfMemoryError: A single row does not fit.
    """
    start = 0
    while start < len(items):
        batch = items[start : start + plan.size]
        try:
            result = compute(batch)
        except torch.OutOfMemoryError:
            plan.size = len(batch)
            if not plan.shrink():
                raise
        else:
            yield result
            start += len(batch)
            continue
        # Not in the handler, where the traceback still holds the tensors of the failed batch.
        torch.cuda.empty_cache()
        _LOGGER.warning("out of memory with %d prompts a batch, going on with %d", len(batch), plan.size)


def _mib(size: int) -> int:
    return -(-size // 2**20)
