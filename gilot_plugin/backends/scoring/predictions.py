"""What a model says comes next, computed where it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

#: Logits that are in memory at once, in bytes: more would fall out of the caches of a CPU and gain nothing.
PART_BYTES = 2**26


class Predictions:
    """Next-token logits of many places, of which a few at a time are in memory.

    Args:
        states: ``[places, dim]``, the last hidden state at each place.
        head: Makes logits, ``[n, vocab]``, from states, ``[n, dim]``; None where the states are logits.
        vocab_size: Length of a row of logits.
    """

    def __init__(
        self, states: torch.Tensor, head: Callable[[torch.Tensor], torch.Tensor] | None, vocab_size: int
    ) -> None:
        self._states, self._head, self._vocab_size = states, head, vocab_size

    def __len__(self) -> int:
        """Number of places."""
        return len(self._states)

    @property
    def device(self) -> torch.device:
        """Where they are made."""
        return self._states.device

    def at(self, places: torch.Tensor) -> Predictions:
        """Those of some of the places, ``[n]``, in the order given."""
        return Predictions(self._states[places], self._head, self._vocab_size)

    def logits(self, places: slice = slice(None)) -> torch.Tensor:
        """Logits of the places, float32, ``[n, vocab]``."""
        states = self._states[places]
        return (states if self._head is None else self._head(states)).float()

    def parts(self) -> Iterator[tuple[slice, torch.Tensor]]:
        """All logits, a few places at a time: the places and their logits, ``[n, vocab]``."""
        size = part_size(self._vocab_size)
        for start in range(0, len(self), size):
            places = slice(start, min(start + size, len(self)))
            yield places, self.logits(places)


def part_size(vocab_size: int) -> int:
    """Places whose logits are in memory at once."""
    return max(1, PART_BYTES // (4 * vocab_size))
