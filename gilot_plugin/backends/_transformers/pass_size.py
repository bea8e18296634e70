"""How many tokens of a pass keep a device busy."""

from __future__ import annotations

from typing import NamedTuple

import torch


class PassSize(NamedTuple):
    """Sizes of passes.

    Attributes:
        least: Tokens of a pass below which the device is not filled.
        most: Tokens of a pass beyond which only memory grows; longer prompts are read in chunks.
    """

    least: int
    most: int

    @classmethod
    def of(cls, device: torch.device, most: int | None = None) -> PassSize:
        """What suits a kind of device, or passes of at most so many tokens."""
        pace = _PACES.get(device.type, _PACES["cuda"])
        return pace if most is None else cls(min(pace.least, max(1, most // 4)), most)


#: By kind of device; others are taken for as large as a GPU.
_PACES = {"cpu": PassSize(192, 512), "cuda": PassSize(1024, 4096)}
