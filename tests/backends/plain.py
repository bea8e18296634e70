"""Predictions of single contexts by the model alone, and the same as a backend reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree

#: A tree whose branches part at once and later.
TREE = TokenTree((5, 6, 7, 8), (-1, -1, 0, 2))
PATHS = {-1: (), 0: (5,), 1: (6,), 2: (5, 7), 3: (5, 7, 8)}


def prompt_of(tokens: int, vocab_size: int = 300) -> tuple[int, ...]:
    """A prompt without special tokens, nor repetitions that a model would copy."""
    return tuple(8 + (37 * place + place // 7 + 5) % (vocab_size - 8) for place in range(tokens))


def plain_logprobs(model: Any, row: Row) -> torch.Tensor:
    """What follows a context, ``[vocab]``, by one forward pass of a model that has just read a short one."""
    inputs: dict[str, Any] = {"input_ids": torch.tensor([row.token_ids])}
    if row.attended is not None:
        inputs["attention_mask"] = torch.tensor([row.attended]).long()
        inputs["position_ids"] = torch.arange(len(row.token_ids))[None]
    with torch.no_grad():
        # Dynamic scaling remembers the longest sequence until a short one comes.
        model(input_ids=torch.tensor([[5]]), use_cache=False)
        return model(**inputs, use_cache=False).logits[0, -1].float().log_softmax(-1)


def tree_errors(
    backend: Any, model: Any, rows: Sequence[Row], known: Row | None = None, tree: TokenTree = TREE
) -> float:
    """Largest difference of log-probabilities, over all nodes of the tree after each of the rows."""
    session = backend.prefill(rows, len(tree.tokens), [known or rows[0]] * len(rows))
    worst, seen = 0.0, 0
    for level in session.read_trees([tree] * len(rows)):
        places = zip(level.rows.tolist(), level.nodes.tolist(), strict=True)
        for (row, node), logits in zip(places, level.predictions.logits(), strict=True):
            expected = plain_logprobs(model, rows[row].continued(path_of(tree, node)))
            worst = max(worst, float((logits.log_softmax(-1) - expected).abs().max()))
            seen += 1
    assert seen == len(rows) * (1 + len(tree.tokens))
    return worst


def step_errors(backend: Any, model: Any, rows: Sequence[Row]) -> float:
    """The same along sequences that are continued token by token, forked and reordered."""
    session = backend.prefill(rows, 8, [rows[0]] * len(rows))
    sequences = [[row] for row in rows]
    steps = (([0, 0], [5, 6]), ([1, 0], [7, 8]), ([1, 1], [9, 10]))
    found = session.prompt.logits().unsqueeze(1)
    worst = 0.0
    for parents, tokens in ((None, None), *steps):
        if parents is not None:
            shape = torch.tensor([parents] * len(rows)), torch.tensor([tokens] * len(rows))
            found = session.advance(*shape).logits().view(len(rows), 2, -1)
            pairs = list(zip(parents, tokens, strict=True))
            sequences = [
                [known[parent].continued((token,)) for parent, token in pairs] for known in sequences
            ]
        for row, known in enumerate(sequences):
            for column, sequence in enumerate(known):
                expected = plain_logprobs(model, sequence)
                worst = max(worst, float((found[row, column].log_softmax(-1) - expected).abs().max()))
    return worst


def path_of(tree: TokenTree, node: int) -> tuple[int, ...]:
    """Tokens from the prompt to a node, the node included."""
    return () if node < 0 else (*path_of(tree, tree.parents[node]), tree.tokens[node])
