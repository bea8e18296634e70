"""How many tokens of a pass keep a device busy."""

from __future__ import annotations

import torch

#: By kind of device; others are taken for as large as a GPU.
_LEAST = {"cpu": 192, "cuda": 1024}
_MOST = {"cpu": 512, "cuda": 4096}


def least_tokens(device: torch.device) -> int:
    """Tokens of a pass below which the device is not filled."""
    return _LEAST.get(device.type, _LEAST["cuda"])


def most_tokens(device: torch.device) -> int:
    """Tokens of a pass beyond which only memory grows."""
    return _MOST.get(device.type, _MOST["cuda"])
