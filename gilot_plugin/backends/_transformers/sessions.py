"""Prompts that a model has read, continued from its cache or read anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from transformers import DynamicCache

from gilot_plugin.backends._transformers.blocks import blocks_of
from gilot_plugin.backends._transformers.passes import LeftPadded, Passes
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.predictions import Predictions
from gilot_plugin.backends.scoring.sessions import Level, TokenTree


class RunSession(ABC):
    """Sequences that are continued by runs of tokens at their ends; all logits of a pass are in memory.

    Args:
        passes: Passes of the model.
        rows: The prompts.
        own: Their tokens that a tree session would read, in all; None for all of them.

    Attributes:
        prompt_logits: ``[rows, vocab]``, of the token after each prompt.
    """

    prompt_logits: torch.Tensor

    def __init__(self, passes: Passes, rows: Sequence[Row], own: int | None = None) -> None:
        self._passes = passes
        with self._in_place_of(sum(len(row.token_ids) for row in rows) if own is None else own):
            self.prompt_logits = self.start(rows)

    @property
    def prompt(self) -> Predictions:
        """What comes after each prompt."""
        return _dense(self.prompt_logits)

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> Predictions:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.advance`."""
        with self._in_place_of(tokens.numel()):
            return _dense(self.extend(parents, tokens.unsqueeze(2)).flatten(0, 2))

    def read_trees(self, trees: Sequence[TokenTree]) -> Iterator[Level]:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.read_trees`."""
        (tree,) = set(trees)
        device = self.prompt_logits.device
        rows = torch.arange(len(trees), device=device)
        yield Level(rows, torch.full_like(rows, -1), self.prompt)
        for block in blocks_of(tree):
            runs = torch.tensor(block.runs, device=device)
            tokens = torch.tensor(tree.tokens, device=device)[runs].expand(len(rows), -1, -1)
            parents = torch.tensor(block.parents, device=device).expand(len(rows), -1)
            with self._in_place_of(tokens.numel()):
                logits = self.extend(parents, tokens)
            for column, nodes in enumerate(runs.T):
                places = rows.repeat_interleave(len(nodes)), nodes.repeat(len(rows))
                yield Level(*places, _dense(logits[:, :, column].flatten(0, 1)))

    @contextmanager
    def _in_place_of(self, tokens: int) -> Iterator[None]:
        """Note how many tokens are read in the block beyond those that a tree session would read."""
        before = self._passes.model_tokens
        yield
        self._passes.avoidable_tokens += self._passes.model_tokens - before - tokens

    @abstractmethod
    def start(self, rows: Sequence[Row]) -> torch.Tensor:
        """Read the prompts; logits of the token after each, ``[rows, vocab]``."""

    @abstractmethod
    def keep(self, rows: torch.Tensor) -> None:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.keep`."""

    @abstractmethod
    def extend(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Feed runs of tokens after given sequences.

        Args:
            parents: As for :meth:`advance`.
            tokens: ``[rows, n, length]``.

        Returns:
            Logits after each of the tokens, ``[rows, n, length, vocab]``.
        """


class CachedSession(RunSession):
    """Sequences that continue from a key-value cache, which is reordered when they change parents."""

    def start(self, rows: Sequence[Row]) -> torch.Tensor:
        """See :meth:`RunSession.start`."""
        batch = LeftPadded(rows, self._passes.device)
        self._cache = DynamicCache(config=self._passes.text_config)
        self._attended = batch.attended
        self._next_positions = batch.next_positions
        self._sequences = 1
        return self._passes.forward(
            batch.token_ids, batch.attended, batch.positions, keep=1, cache=self._cache
        )[:, 0]

    def extend(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """See :meth:`RunSession.extend`."""
        rows, sequences, length = tokens.shape
        offsets = torch.arange(rows, device=parents.device).unsqueeze(1) * self._sequences
        self._sequences = sequences
        logits = self.go_on((parents + offsets).flatten(), tokens.flatten(0, 1))
        return logits.view(rows, sequences, length, -1)

    def keep(self, rows: torch.Tensor) -> None:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.keep`."""
        self.prompt_logits = self.prompt_logits[rows]
        offsets = torch.arange(self._sequences, device=rows.device)
        self._select((rows[:, None] * self._sequences + offsets).flatten())

    def go_on(self, source: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Feed tokens after any sequences of the batch.

        Args:
            source: ``[n]``, the sequence that each new one continues.
            tokens: ``[n, length]``.

        Returns:
            Logits after each of the tokens, ``[n, length, vocab]``.
        """
        self._select(source.to(self._passes.device))
        step = 1 if self._passes.inputs.one_by_one else tokens.shape[1]
        return torch.cat([self._feed(part) for part in torch.split(tokens, step, dim=1)], dim=1)

    def _feed(self, tokens: torch.Tensor) -> torch.Tensor:
        """One pass over the next tokens of each sequence, ``[n, length]``."""
        starts, length = self._next_positions, tokens.shape[1]
        self._attended = torch.cat((self._attended, torch.ones_like(tokens)), dim=1)
        self._next_positions = starts + length
        positions = starts.unsqueeze(1) + torch.arange(length, device=starts.device)
        return self._passes.forward(tokens, self._attended, positions, keep=length, cache=self._cache)

    def _select(self, source: torch.Tensor) -> None:
        """Let the sequences be these of the present ones."""
        # Nothing to copy where each is continued once.
        if source.tolist() != list(range(len(self._next_positions))):
            self._cache.reorder_cache(cast("torch.LongTensor", source))
            self._attended, self._next_positions = self._attended[source], self._next_positions[source]


class RecomputingSession(RunSession):
    """Sequences that are read whole at every step, for models whose past cannot be kept."""

    def start(self, rows: Sequence[Row]) -> torch.Tensor:
        """See :meth:`RunSession.start`."""
        self._sequences = [[row] for row in rows]
        return self._read(1)[:, 0, 0]

    def extend(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """See :meth:`RunSession.extend`."""
        self._sequences = [
            [known[parent].continued(run) for parent, run in zip(*steps, strict=True)]
            for known, *steps in zip(self._sequences, parents.tolist(), tokens.tolist(), strict=True)
        ]
        return self._read(tokens.shape[2])

    def keep(self, rows: torch.Tensor) -> None:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.keep`."""
        self.prompt_logits = self.prompt_logits[rows]
        self._sequences = [self._sequences[row] for row in rows.tolist()]

    def _read(self, keep: int) -> torch.Tensor:
        """Logits after the last tokens of each sequence, ``[rows, n, keep, vocab]``."""
        flat = [sequence for known in self._sequences for sequence in known]
        logits = torch.stack(self._passes.whole_logits(flat, [keep] * len(flat)))
        return logits.view(len(self._sequences), len(self._sequences[0]), keep, -1)


def _dense(logits: torch.Tensor) -> Predictions:
    return Predictions(logits, None, logits.shape[-1])
