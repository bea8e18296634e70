"""How the work of an attribution is carried out."""

from __future__ import annotations

from typing import NamedTuple

from gilot_plugin.attribution.host import usable_cores
from gilot_plugin.backends.scorer import Room


class Execution(NamedTuple):
    """How the work is carried out; no number depends on it beyond round-off.

    Attributes:
        batch_size: Prompts a batch; None for as many as the memory budget allows and as gain anything.
        memory_budget: Bytes that a batch may take; None for what may be used beside the model.
        num_threads: Worker threads of the measurements; None for one a core.
    """

    batch_size: int | None = None
    memory_budget: int | None = None
    num_threads: int | None = None

    @property
    def threads(self) -> int:
        """Worker threads of the measurements."""
        return self.num_threads or usable_cores()

    def room(self, reserved: int = 0) -> Room:
        """What the model may read together, while so many bytes are taken by something else."""
        return Room(self.batch_size, self.memory_budget, reserved)
