from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from gilot_plugin.backends.fingerprint import weights_fingerprint


def test_one_bit_of_one_weight_counts(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    changed = copy.deepcopy(model)
    assert weights_fingerprint(changed) == weights_fingerprint(model)
    weight = changed.model.layers[-1].mlp.down_proj.weight.data
    weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(torch.inf))
    assert weights_fingerprint(changed) != weights_fingerprint(model)


def test_weights_that_change_places_count() -> None:
    layer = torch.nn.Linear(4, 1)
    before = weights_fingerprint(layer)
    layer.weight.data = layer.weight.data.flip(1)
    assert weights_fingerprint(layer) != before


def test_buffers_count() -> None:
    norm = torch.nn.BatchNorm1d(2)
    before = weights_fingerprint(norm)
    norm.running_mean += 1
    assert weights_fingerprint(norm) != before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int8, torch.bool])
def test_types_are_told_apart_and_all_can_be_read(dtype: torch.dtype) -> None:
    module = torch.nn.Module()
    module.register_buffer("weights", torch.tensor([[1, 0], [1, 1]]).to(dtype).t())  # not contiguous
    module.register_buffer("scale", torch.tensor(1).to(dtype))
    other = torch.nn.Module()
    other.register_buffer("weights", torch.tensor([[1, 0], [1, 1]]).to(torch.float64).t())
    other.register_buffer("scale", torch.tensor(1.0, dtype=torch.float64))
    assert weights_fingerprint(module) == weights_fingerprint(copy.deepcopy(module))
    assert weights_fingerprint(module) != weights_fingerprint(other)


def test_weights_that_are_elsewhere_do_not_stop_it() -> None:
    assert weights_fingerprint(torch.nn.Linear(2, 2, device="meta"))
