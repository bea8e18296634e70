"""Contexts that are read one by one, where what a token is depends on how long the whole is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from gilot_plugin.backends._transformers.passes import Passes
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.predictions import Predictions
from gilot_plugin.backends.scoring.sessions import Level, TokenTree


class ContextSession:
    """Prompts and continuations, each of which is read whole for the one token that comes after it.

    What a model says at position t is what it says after the prompt and the first t - 1 tokens of the answer,
    and nothing else: a pass that reads the whole answer would rotate all of it as befits its whole length.

    Args:
        passes: Passes of the model.
        rows: The prompts.
        own: Their tokens that a tree session would read, in all; None for all of them.
    """

    def __init__(self, passes: Passes, rows: Sequence[Row], own: int | None = None) -> None:
        self._passes = passes
        # What a tree session would have read is not avoidable.
        every = sum(len(row.token_ids) for row in rows)
        passes.avoidable_tokens -= every if own is None else own
        self._prompts = list(rows)
        self._sequences = [[row] for row in rows]
        self._prompt_logits: torch.Tensor | None = None

    @property
    def prompt(self) -> Predictions:
        """What comes after each prompt."""
        if self._prompt_logits is None:
            self._prompt_logits = self._logits(self._prompts)
        return _dense(self._prompt_logits)

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> Predictions:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.advance`."""
        self._passes.avoidable_tokens -= tokens.numel()
        self._sequences = [
            [known[parent].continued((token,)) for parent, token in zip(*steps, strict=True)]
            for known, *steps in zip(self._sequences, parents.tolist(), tokens.tolist(), strict=True)
        ]
        return _dense(self._logits([sequence for known in self._sequences for sequence in known]))

    def keep(self, rows: torch.Tensor) -> None:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.keep`."""
        if self._prompt_logits is not None:
            self._prompt_logits = self._prompt_logits[rows]
        self._prompts = [self._prompts[row] for row in rows.tolist()]
        self._sequences = [self._sequences[row] for row in rows.tolist()]

    def read_trees(self, trees: Sequence[TokenTree]) -> Iterator[Level]:
        """See :meth:`gilot_plugin.backends.scoring.sessions.DecodingSession.read_trees`."""
        self._passes.avoidable_tokens -= sum(len(tree.tokens) for tree in trees)
        device = self._passes.device
        rows = torch.arange(len(trees), device=device)
        yield Level(rows, torch.full_like(rows, -1), self.prompt)
        above = [{-1: prompt} for prompt in self._prompts]
        while True:
            above = [
                {
                    node: above[row][parent].continued((tree.tokens[node],))
                    for node, parent in enumerate(tree.parents)
                    if parent in above[row]
                }
                for row, tree in enumerate(trees)
            ]
            places = [(row, node) for row, nodes in enumerate(above) for node in nodes]
            if not places:
                return
            logits = self._logits([above[row][node] for row, node in places])
            rows, nodes = torch.tensor(places, device=device).T
            yield Level(rows, nodes, _dense(logits))

    def _logits(self, contexts: Sequence[Row]) -> torch.Tensor:
        """Logits after each context, ``[contexts, vocab]``."""
        longest = max(len(context.token_ids) for context in contexts)
        step = max(1, self._passes.pass_size.most // longest)
        found: list[torch.Tensor] = []
        before = self._passes.model_tokens
        for start in range(0, len(contexts), step):
            part = contexts[start : start + step]
            found += self._passes.whole_logits(part, [1] * len(part))
        self._passes.avoidable_tokens += self._passes.model_tokens - before
        return torch.cat(found)


def _dense(logits: torch.Tensor) -> Predictions:
    return Predictions(logits, None, logits.shape[-1])
