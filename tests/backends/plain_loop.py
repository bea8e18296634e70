"""The least that a model runtime has to do: one forward pass a sequence, nothing kept, nothing shared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Limits
from gilot_plugin.backends.scoring.predictions import Predictions
from gilot_plugin.backends.scoring.scorer import SessionScorer
from gilot_plugin.backends.scoring.sessions import Level, Need


class PlainLoop(SessionScorer):
    """A scorer as :class:`gilot_plugin.backends.scorer.Scorer` has it, around a model of any kind.

    Args:
        model: Takes ids, a mask and positions, and gives logits.
        trees: Whether it says that rows may have trees of their own; it then gets all at once.
    """

    device, pass_tokens, model_tokens = torch.device("cpu"), 10**6, 0
    refuses_positions, cache_use, reads_trees = None, None, False

    def __init__(self, model: Any, trees: bool = False) -> None:
        self.model, self.reads_trees = model, trees
        self.limits = Limits(model.config.vocab_size, (model.config.eos_token_id,), fill_tokens=64)
        table = model.get_input_embeddings().weight.detach().float()
        self.embeddings = SimpleNamespace(
            device=self.device, input=lambda ids: table[ids], mean=table.mean(dim=0)
        )

    def prefill(self, rows: Any, room: int, beside: Any) -> PlainSession:
        return PlainSession(self, rows)

    def after(self, sequences: list[Row]) -> Predictions:
        logits = torch.stack([self._logits(row) for row in sequences])
        return Predictions(logits, None, self.limits.vocab_size)

    def _logits(self, row: Row) -> torch.Tensor:
        self.model_tokens += len(row.token_ids)
        hidden = {} if row.attended is None else {"attention_mask": torch.tensor([row.attended]).long()}
        places = torch.tensor([row.positions or range(len(row.token_ids))])
        ids = torch.tensor([row.token_ids])
        with torch.no_grad():
            return self.model(input_ids=ids, position_ids=places, use_cache=False, **hidden).logits[0, -1]

    def recomputes_at(self, tokens: int) -> str:
        return "it is a plain loop"

    def memory(self, load: Any) -> Need:
        return Need(0, 1)

    def free_memory(self) -> int:
        return 2**30


class PlainSession:
    """Sequences, as lists of rows."""

    def __init__(self, runtime: PlainLoop, rows: Any) -> None:
        self._runtime, self._rows, self._sequences = runtime, list(rows), [[row] for row in rows]
        self.prompt = runtime.after(self._rows)

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> Predictions:
        steps = zip(self._sequences, parents.tolist(), tokens.tolist(), strict=True)
        self._sequences = [
            [known[parent].continued((token,)) for parent, token in zip(*step, strict=True)]
            for known, *step in steps
        ]
        return self._runtime.after([sequence for known in self._sequences for sequence in known])

    def keep(self, rows: torch.Tensor) -> None:
        self._rows, self._sequences = ([part[row] for row in rows] for part in (self._rows, self._sequences))

    def read_trees(self, trees: Any) -> Any:
        assert self._runtime.reads_trees or len(set(trees)) == 1
        places = [(row, -1, self._rows[row]) for row in range(len(trees))]
        while places:
            rows, nodes, sequences = zip(*places, strict=True)
            yield Level(torch.tensor(rows), torch.tensor(nodes), self._runtime.after(list(sequences)))
            places = [
                (row, node, sequence.continued((trees[row].tokens[node],)))
                for row, above, sequence in places
                for node, parent in enumerate(trees[row].parents)
                if parent == above
            ]
