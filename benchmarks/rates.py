"""How fast the machine multiplies matrices."""

from __future__ import annotations

import torch
from timing import timed
from workload import Workload

#: Tokens in a product of a layer's shape.
TOKENS = 512
_REPEATS = 5


def square_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Best rate of products of large square matrices, floating-point operations a second."""
    size = 8192 if device.type == "cuda" else 2048
    return _product_rate(size, size, size, dtype, device)


def layer_rate(workload: Workload, dtype: torch.dtype) -> float:
    """Best rate of products of the model's own shapes, each as often as the others."""
    work = [(TOKENS, inputs, outputs) for inputs, outputs in workload.layer_shapes]
    flops = [2.0 * rows * inner * columns for rows, inner, columns in work]
    seconds = [
        flop / _product_rate(*shape, dtype, workload.device) for flop, shape in zip(flops, work, strict=True)
    ]
    return sum(flops) / sum(seconds)


def _product_rate(rows: int, inner: int, columns: int, dtype: torch.dtype, device: torch.device) -> float:
    left = torch.randn(rows, inner, device=device, dtype=dtype)
    right = torch.randn(columns, inner, device=device, dtype=dtype)
    flop = 2.0 * rows * inner * columns
    # Enough products at a time that starting them does not count.
    count = max(1, round(2e10 / flop)) if device.type == "cpu" else max(1, round(1e13 / flop))

    def multiply() -> None:
        for _ in range(count):
            torch.nn.functional.linear(left, right)

    multiply()
    return count * flop / min(timed(multiply, device)[1] for _ in range(_REPEATS))
