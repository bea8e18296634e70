"""The least that a model runtime has to do: one forward pass a sequence, nothing kept, nothing shared."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from gilot_plugin.backends.predictions import Predictions
from gilot_plugin.backends.protocol import Batch, Level, Need, Row


class PlainLoop:
    """A runtime as :class:`gilot_plugin.backends.protocol.Backend` has it, around a model of any kind.

    Args:
        model: Takes ids, a mask and positions, and gives logits.
        shares_prompts: Whether it says that it reads common beginnings once; it then gets all at once.
    """

    device, max_positions = torch.device("cpu"), None
    fill_tokens, pass_tokens, half_precision = 64, 10**6, False
    refuses_positions, cache_use = None, None

    def __init__(self, model: Any, shares_prompts: bool = False) -> None:
        self.model, self.shares_prompts, self.model_tokens = model, shares_prompts, 0
        self.vocab_size, self.eos_token_ids = model.config.vocab_size, (model.config.eos_token_id,)
        self._table = model.get_input_embeddings().weight.detach().float()
        self.mean_embedding = self._table.mean(dim=0)

    def read_prompt(self, row: Row) -> Any:
        return SimpleNamespace(row=row)

    def prefill(self, batch: Batch, room: int) -> PlainSession:
        return PlainSession(self, batch.rows)

    def after(self, sequences: list[Row]) -> Predictions:
        return Predictions(torch.stack([self._logits(row) for row in sequences]), None, self.vocab_size)

    def _logits(self, row: Row) -> torch.Tensor:
        self.model_tokens += len(row.token_ids)
        hidden = {} if row.attended is None else {"attention_mask": torch.tensor([row.attended]).long()}
        places = torch.tensor([row.positions or range(len(row.token_ids))])
        ids = torch.tensor([row.token_ids])
        with torch.no_grad():
            return self.model(input_ids=ids, position_ids=places, use_cache=False, **hidden).logits[0, -1]

    def embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        return self._table[token_ids]

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
        assert self._runtime.shares_prompts or len(set(trees)) == 1
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
