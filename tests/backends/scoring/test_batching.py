"""Batches that fit the memory."""

from __future__ import annotations

import logging

import pytest
import torch

from gilot_plugin.backends.scoring.batching import BatchPlan, Size, in_batches
from gilot_plugin.backends.scoring.sessions import Need
from gilot_plugin.errors import BudgetError

MIB = 2**20


def sum_below(limit):
    """Sums batches; runs out of memory on more than ``limit``."""
    sizes = []

    def compute(batch):
        if len(batch) > limit:
            raise torch.OutOfMemoryError("too many")
        sizes.append(len(batch))
        return sum(batch)

    return compute, sizes


def batches(items, compute, plan):
    """Results of all batches."""
    items = list(items)
    return [result for _, result in in_batches(items, [Size(Need(0, 1), 0, 256)] * len(items), compute, plan)]


def test_batches_are_in_order_and_the_last_is_what_is_left():
    compute, sizes = sum_below(100)
    assert batches(range(10), compute, BatchPlan(4, 0)) == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9]
    assert sizes == [4, 4, 2]


def test_batches_come_with_their_results():
    items = list(range(5))
    found = list(in_batches(items, [Size(Need(0, 1), 0, 9)] * 5, sum, BatchPlan(3, 0)))
    assert found == [([0, 1, 2], 3), ([3, 4], 7)]


def test_batches_shrink_and_stay_small(caplog):
    compute, sizes = sum_below(3)
    plan = BatchPlan(8, 0)
    with caplog.at_level(logging.WARNING):
        assert sum(batches(range(10), compute, plan)) == 45
    assert sizes == [2] * 5
    assert plan.largest == 2
    assert plan.out_of_memory == 2
    assert "8 prompts a batch, going on with 4" in caplog.text


def test_small_last_batch_shrinks_from_what_it_is():
    compute, sizes = sum_below(2)
    assert sum(batches(range(3), compute, BatchPlan(64, 0))) == 3
    assert sizes == [1, 1, 1]


def test_single_item_that_does_not_fit():
    compute, _ = sum_below(0)
    with pytest.raises(torch.OutOfMemoryError):
        batches(range(3), compute, BatchPlan(4, 0))


def test_error_of_the_consumer_is_not_taken_for_the_models():
    compute, sizes = sum_below(100)
    found = in_batches(range(4), [Size(Need(0, 1), 0, 9)] * 4, compute, BatchPlan(2, 0))
    next(found)
    with pytest.raises(torch.OutOfMemoryError):
        found.throw(torch.OutOfMemoryError("elsewhere"))
    assert sizes == [2]


@pytest.mark.parametrize(
    ("budget", "sizes", "expected"),
    [
        (10, [Size(Need(0, 3), 0, 256)] * 9, 3),
        (10, [Size(Need(0, 10), 0, 256)] * 9, 1),
        (10, [Size(Need(4, 3), 0, 256)] * 9, 2),
        (2**50, [Size(Need(0, 1), 0, 256)] * 999, 256),
        # Padding makes every item as large as the largest.
        (10, [Size(Need(0, 1), 0, 256), Size(Need(0, 1), 0, 256), Size(Need(0, 4), 0, 256)], 2),
        (10, [Size(Need(0, 4), 0, 256), Size(Need(0, 1), 0, 256), Size(Need(0, 1), 0, 256)], 2),
        (10, [Size(Need(1, 1), 0, 256), Size(Need(9, 1), 0, 256)], 1),
        (10, [Size(Need(0, 1), 0, 256)] * 2, 2),
        (10, [Size(Need(0, 1), 1, 256)] * 9, 5),
        (10, [Size(Need(0, 1, ((3, 6),)), 0, 256)] * 9, 4),
        (10, [Size(Need(0, 1, ((3, 6), (9, 3))), 0, 256)] * 9, 1),
        (10, [Size(Need(0, 1, ((3, 0), (9, 0))), 0, 7)] * 9, 7),
    ],
)
def test_size_from_the_budget(budget, sizes, expected):
    assert BatchPlan(None, budget).take(sizes) == expected


def test_size_that_was_asked_for_is_not_questioned():
    assert BatchPlan(12, 1).take([Size(Need(0, 3 * MIB), 0, 4)] * 20) == 12


def test_budget_too_small_for_an_item():
    sizes = [Size(Need(MIB, 2 * MIB - 5), 0, 256)]
    with pytest.raises(BudgetError, match=r"^one prompt needs about 3 MiB, 1 MiB may be used"):
        BatchPlan(None, MIB).take(sizes)
    with pytest.raises(BudgetError, match=r"^a pass needs about 3 MiB"):
        BatchPlan(None, MIB, "a pass").take(sizes)
