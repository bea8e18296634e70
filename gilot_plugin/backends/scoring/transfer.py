"""From the device to the host, in one copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

#: Where each tensor begins in the copy, in bytes: what every type is aligned to.
_ALIGNMENT = 8


class HostCopy:
    """Tensors of one device on their way to the host, in one transfer.

    On CUDA it goes to pinned memory while the host does something else; what is on the host already is not
    copied.

    Args:
        tensors: What is copied; not to be changed until it has arrived.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = list(tensors)
        self._packed: torch.Tensor | None = None
        self._arrival: torch.cuda.Event | None = None
        if not tensors or tensors[0].device.type == "cpu":
            return
        device = tensors[0].device
        packed = torch.cat([part for tensor in tensors for part in _bytes_of(tensor)])
        if device.type == "cuda":
            self._packed = torch.empty(len(packed), dtype=torch.uint8, pin_memory=True)
            self._packed.copy_(packed, non_blocking=True)
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrival.record(torch.cuda.current_stream(device))
        else:
            self._packed = packed.cpu()

    def arrays(self) -> list[NDArray[Any]]:
        """The tensors' numbers, in their order; waits until they are there."""
        if self._packed is None:
            return [tensor.numpy() for tensor in self._tensors]
        if self._arrival is not None:
            self._arrival.synchronize()
        packed, start, arrays = self._packed.numpy(), 0, []
        for tensor in self._tensors:
            stop = start + tensor.numel() * tensor.element_size()
            kind = np.dtype(str(tensor.dtype).removeprefix("torch."))
            arrays.append(packed[start:stop].view(kind).reshape(tuple(tensor.shape)))
            start = stop + -stop % _ALIGNMENT
        return arrays


def _bytes_of(tensor: torch.Tensor) -> list[torch.Tensor]:
    """The tensor as bytes, and what fills them up."""
    flat = tensor.contiguous().flatten().view(torch.uint8)
    return [flat, flat.new_zeros(-len(flat) % _ALIGNMENT)]
