"""Prompts that a model has read, continued from its cache or read anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from transformers import DynamicCache

from gilot_plugin.backends.passes import LeftPadded, Passes
from gilot_plugin.backends.protocol import Row


class CachedSession:
    """Sequences that continue from a key-value cache, which is reordered when they change parents."""

    def __init__(self, passes: Passes, rows: Sequence[Row]) -> None:
        batch = LeftPadded(rows, passes.device)
        self._passes = passes
        self._cache = DynamicCache(config=passes.text_config)
        logits = passes.forward(batch.token_ids, batch.attended, batch.positions, keep=1, cache=self._cache)
        self.prompt_logits: torch.Tensor = logits[:, 0]
        self._attended = batch.attended
        self._next_positions = batch.next_positions
        self._sequences = 1

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """See :meth:`gilot_plugin.backends.protocol.DecodingSession.advance`."""
        rows, sequences, length = tokens.shape
        offsets = torch.arange(rows, device=parents.device).unsqueeze(1) * self._sequences
        self._sequences = sequences
        fed = tokens.flatten(0, 1)
        logits = self.extend((parents + offsets).flatten(), fed, torch.ones_like(fed))
        return logits.view(rows, sequences, length, -1)

    def extend(self, source: torch.Tensor, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Feed tokens after given sequences of the batch, which may be repeated, dropped or reordered.

        Args:
            source: ``[new rows]``, the sequence that each new one continues.
            tokens: ``[new rows, new]``, padded on the right.
            real: ``[new rows, new]``, 0 on padding.

        Returns:
            Logits after each of the tokens, ``[new rows, new, vocab]``.
        """
        device = self._passes.device
        source, tokens, real = source.to(device), tokens.to(device), real.to(device)
        self._cache.reorder_cache(cast("torch.LongTensor", source))
        self._attended = torch.cat((self._attended[source], real), dim=1)
        # Padding repeats a position, so that none lies beyond the model's window.
        starts = self._next_positions[source]
        positions = starts.unsqueeze(1) + (real.cumsum(dim=1) - 1).clamp(min=0)
        self._next_positions = starts + real.sum(dim=1)
        return self._passes.forward(
            tokens, self._attended, positions, keep=tokens.shape[1], cache=self._cache
        )


class RecomputingSession:
    """Sequences that are read whole at every step, for models whose past cannot be kept."""

    def __init__(self, passes: Passes, rows: Sequence[Row]) -> None:
        self._passes = passes
        self._sequences = [[row] for row in rows]
        self.prompt_logits: torch.Tensor = self._read(1)[:, 0, 0]

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """See :meth:`gilot_plugin.backends.protocol.DecodingSession.advance`."""
        self._sequences = [
            [known[parent].continued(run) for parent, run in zip(*steps, strict=True)]
            for known, *steps in zip(self._sequences, parents.tolist(), tokens.tolist(), strict=True)
        ]
        return self._read(tokens.shape[2])

    def _read(self, keep: int) -> torch.Tensor:
        """Logits after the last tokens of each sequence, ``[rows, n, keep, vocab]``."""
        flat = [sequence for known in self._sequences for sequence in known]
        logits = torch.stack(self._passes.whole_logits(flat, [keep] * len(flat)))
        return logits.view(len(self._sequences), len(self._sequences[0]), keep, -1)
