"""What the backend takes for round-off of a model's numbers, and what for another reading."""

from __future__ import annotations

import functools

import pytest
import torch

from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import NonFiniteLogitsError
from tests.attribution import engine_calls
from tests.attribution.altered_models import bias_output
from tests.attribution.engine_calls import PROMPT, SPANS
from tests.backends._transformers.altered_passes import around_forward, ignore_mask, reorder_nothing


def test_batches_that_change_predictions(make_tiny_model):
    def add_noise_to_batches(inputs):
        if inputs.get("attention_mask") is not None:
            inputs["input_ids"] = (inputs["input_ids"] + 1) % 320

    backend = TransformersBackend(around_forward(make_tiny_model("llama"), add_noise_to_batches))
    assert backend.recomputes == "it reads a batch otherwise than single sequences"


@pytest.mark.parametrize(
    ("dtype", "precision", "finding"),
    [
        (torch.float32, "highest", "it reads a batch otherwise than single sequences"),
        # TF32, where the user has switched it on, is as coarse as half precision.
        (torch.float32, "high", None),
        (torch.float16, "highest", None),
        (torch.bfloat16, "highest", None),
    ],
)
def test_noise_as_of_coarse_products(make_tiny_model, dtype, precision, finding):
    model = make_tiny_model("llama").to(dtype)
    forward, draw = model.forward, torch.Generator().manual_seed(0)

    @functools.wraps(forward)
    def noisy(**inputs):
        output = forward(**inputs)
        if inputs.get("attention_mask") is not None:
            output.logits = output.logits + 0.01 * torch.randn(output.logits.shape, generator=draw)
        return output

    model.forward = noisy
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert TransformersBackend(model).recomputes == finding
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("others", [-1e4, float("-inf")])
def test_logits_fixed_at_extremes(make_tiny_model, others):
    model = bias_output(make_tiny_model("llama"), dict.fromkeys(range(20, 40), 0.0), others)
    backend = TransformersBackend(model)
    assert backend.recomputes is None
    assert backend.takes_positions
    assert TransformersBackend(around_forward(model, ignore_mask)).recomputes is not None


def test_nan_is_refused_as_before(make_tiny_model):
    model = make_tiny_model("llama")
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(NonFiniteLogitsError):
        engine_calls.generation(model, PROMPT, SPANS)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("alter", [ignore_mask, reorder_nothing])
def test_round_off_of_half_precision_is_told_from_errors(make_tiny_model, dtype, alter):
    for family in ("llama", "gpt2", "gemma2"):
        assert TransformersBackend(make_tiny_model(family).to(dtype)).recomputes is None
        broken = around_forward(make_tiny_model(family).to(dtype), alter)
        assert TransformersBackend(broken).recomputes is not None
