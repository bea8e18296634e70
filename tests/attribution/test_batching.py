"""Batches that fit the memory."""

from __future__ import annotations

import logging

import pytest
import torch

from gilot_plugin.attribution.batching import BatchPlan, in_batches
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


def test_batches_are_in_order_and_the_last_is_what_is_left():
    compute, sizes = sum_below(100)
    results = list(in_batches(range(10), compute, BatchPlan(4, 0, 1)))
    assert results == [0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9]
    assert sizes == [4, 4, 2]


def test_batches_shrink_and_stay_small(caplog):
    compute, sizes = sum_below(3)
    plan = BatchPlan(8, 0, 1)
    with caplog.at_level(logging.WARNING):
        assert sum(in_batches(range(10), compute, plan)) == 45
    assert sizes == [2] * 5
    assert plan.size == 2
    assert "8 prompts a batch, going on with 4" in caplog.text


def test_small_last_batch_shrinks_from_what_it_is():
    compute, sizes = sum_below(2)
    assert sum(in_batches(range(3), compute, BatchPlan(64, 0, 1))) == 3
    assert sizes == [1, 1, 1]


def test_single_row_that_does_not_fit():
    compute, _ = sum_below(0)
    with pytest.raises(torch.OutOfMemoryError):
        list(in_batches(range(3), compute, BatchPlan(4, 0, 1)))


def test_error_of_the_consumer_is_not_taken_for_the_models():
    compute, sizes = sum_below(100)
    batches = in_batches(range(4), compute, BatchPlan(2, 0, 1))
    next(batches)
    with pytest.raises(torch.OutOfMemoryError):
        batches.throw(torch.OutOfMemoryError("elsewhere"))
    assert sizes == [2]


def test_size_from_the_budget():
    assert BatchPlan(None, 10 * MIB, 3 * MIB).size == 3
    assert BatchPlan(None, 10 * MIB, 10 * MIB).size == 1
    assert BatchPlan(None, 2**50, 1).size == 256


def test_size_that_was_asked_for_is_not_questioned():
    assert BatchPlan(12, 1, 3 * MIB).size == 12


def test_budget_too_small_for_a_row():
    with pytest.raises(BudgetError, match="needs about 3 MiB, 1 MiB may be used"):
        BatchPlan(None, MIB, 3 * MIB - 5)
