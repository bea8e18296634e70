"""Looking something up where it may not be."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class InBounds(TorchFunctionMode):
    """Raises ``IndexError`` before tensors are asked for what they do not have.

    Devices notice it too late, and then compute nothing more for the process.
    """

    def __torch_function__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, if it finds everything."""
        if function is torch.nn.functional.embedding:
            _check(args[0], len(args[1]))
        elif function is torch.Tensor.__getitem__:
            table, index = args
            for axis, places in enumerate(index if isinstance(index, tuple) else (index,)):
                if isinstance(places, torch.Tensor) and places.dtype == torch.long:
                    _check(places, table.shape[axis])
        return function(*args, **(kwargs or {}))


def _check(places: torch.Tensor, size: int) -> None:
    if places.numel() and not -size <= int(places.min()) <= int(places.max()) < size:
        raise IndexError("something is looked up that is not there")
