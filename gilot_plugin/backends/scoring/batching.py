"""Batches that fit into the memory at hand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch

from gilot_plugin.backends.scorer import Room
from gilot_plugin.backends.scoring.sessions import Need
from gilot_plugin.errors import BudgetError

_LOGGER = logging.getLogger(__name__)

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Size(NamedTuple):
    """What an item asks of a batch.

    Attributes:
        need: Memory that the model takes for a batch of such items.
        result: Bytes that the result of an item takes.
        most: Items beyond which a batch gains nothing.
    """

    need: Need
    result: int
    most: int

    def of(self, count: int) -> int:
        """Bytes of a batch of so many such items."""
        return self.need.of(count) + count * self.result


class BatchPlan:
    """How many items go through the model together; shrinks when the device runs out of memory.

    Args:
        batch_size: Items a batch, None to take as many as the budget allows and as gain anything.
        budget: Bytes that a batch may take.
        what: What an item is, for errors.

    Attributes:
        budget: The same.
        largest: Items of the largest batch so far.
        out_of_memory: How often the device ran out of memory.
    """

    def __init__(self, batch_size: int | None, budget: int, what: str = "one prompt") -> None:
        self.largest = self.out_of_memory = 0
        self.budget = budget
        self._batch_size, self._what = batch_size, what
        self._limit: int | None = None
        self._reserved = 0

    @classmethod
    def within(cls, room: Room, free_memory: Callable[[], int], what: str = "one prompt") -> BatchPlan:
        """For as much as may be read together; what is free is asked for if nothing else is said."""
        plan = cls(room.batch_size, free_memory() if room.memory is None else room.memory, what)
        plan.reserve(room.reserved)
        return plan

    def reserve(self, size: int) -> None:
        """So many bytes of the budget are taken by something else for now."""
        self._reserved = size

    def take(self, sizes: Sequence[Size]) -> int:
        """How many of the next items go into one batch, at least one.

        Args:
            sizes: What the items ask of it.

        Raises:
            BudgetError: One of them does not fit the budget by itself.
        """
        count = self._batch_size or self._fitting(sizes)
        return min(count, len(sizes), self._limit or count)

    def done(self, count: int) -> None:
        """A batch of so many items went well."""
        self.largest = max(self.largest, count)

    def shrink(self, count: int) -> bool:
        """A batch of so many items ran out of memory: halve it; False if it is a single item already."""
        self.out_of_memory += 1
        self._limit = max(1, count // 2)
        return count > 1

    def _fitting(self, sizes: Sequence[Size]) -> int:
        """As many items as fit; padding makes each as large as the largest."""
        largest = self._reserved + max(kind.of(1) for kind in set(sizes))
        if largest > self.budget:
            raise BudgetError(
                f"{self._what} needs about {_mib(largest)} MiB, {_mib(self.budget)} MiB may be used: raise "
                "memory_budget, or lower num_beams, max_new_tokens or top_k"
            )
        kinds: dict[Size, None] = {}
        for count, size in enumerate(sizes):
            kinds[size] = None
            needed = self._reserved + max(kind.of(count + 1) for kind in kinds)
            if needed > self.budget or count >= size.most:
                return count
        return len(sizes)


def in_batches(
    items: Sequence[_Item],
    sizes: Sequence[Size],
    compute: Callable[[Sequence[_Item]], _Result],
    plan: BatchPlan,
) -> Iterator[tuple[Sequence[_Item], _Result]]:
    """Compute all items in batches, in order; on out-of-memory the batch is halved and tried again.

    Args:
        items: What to compute.
        sizes: What each asks of a batch.
        compute: Computes a batch.
        plan: Says how large a batch is, and is told when that was too large.

    Yields:
        Each batch and its result.

    Raises:
        torch.OutOfMemoryError: A single item does not fit.
        BudgetError: A single item does not fit the budget.
    """
    start = 0
    while start < len(items):
        batch = items[start : start + plan.take(sizes[start:])]
        try:
            result = compute(batch)
        except torch.OutOfMemoryError:
            if not plan.shrink(len(batch)):
                raise
        else:
            plan.done(len(batch))
            yield batch, result
            start += len(batch)
            continue
        # Not in the handler, where the traceback still holds the tensors of the failed batch.
        torch.cuda.empty_cache()
        _LOGGER.warning(
            "out of memory with %d prompts a batch, going on with %d", len(batch), len(batch) // 2
        )


def _mib(size: int) -> int:
    return -(-size // 2**20)
