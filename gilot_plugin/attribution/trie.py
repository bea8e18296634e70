"""Continuations as a trie: what several of them begin with is fed to the model once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from gilot_plugin.attribution.logprobs import finite_log_softmax
from gilot_plugin.backends.protocol import Backend, Row

#: A node of the trie: the tokens from the prompt's end up to it.
Prefix = tuple[int, ...]


class Block(NamedTuple):
    """Runs of tokens between two depths at which the trie branches or a continuation ends.

    Runs of a block have the same length, so that a batch of them needs no padding.

    Attributes:
        length: Tokens of each run.
        parents: For each run, the run of the block before that it continues; 0, the prompt, in the first.
        prefixes: The node at the end of each run.
    """

    length: int
    parents: tuple[int, ...]
    prefixes: tuple[Prefix, ...]


class Visit(NamedTuple):
    """A node of the trie that the model has read after each prompt of a batch.

    Attributes:
        prefix: The node.
        logprob: ``[rows]``, log-probability of the prefix given the prompt, in nats.
        following: ``[rows, vocab]``, log-probability of each token after it.
    """

    prefix: Prefix
    logprob: torch.Tensor
    following: torch.Tensor


def blocks_of(continuations: Sequence[Prefix]) -> list[Block]:
    """Cut the trie of the continuations into blocks, from the prompt on; each of its nodes is in one run."""
    blocks: list[Block] = []
    places: dict[Prefix, int] = {(): 0}
    start = 0
    for depth in range(1, max(map(len, continuations), default=0) + 1):
        nodes = list(dict.fromkeys(known[:depth] for known in continuations if len(known) >= depth))
        deeper = {known[: depth + 1] for known in continuations if len(known) > depth}
        children = Counter(node[:depth] for node in deeper)
        ends = {known for known in continuations if len(known) == depth}
        if not ends and all(children[node] == 1 for node in nodes):
            continue
        blocks.append(Block(depth - start, tuple(places[node[:start]] for node in nodes), tuple(nodes)))
        places = {node: place for place, node in enumerate(nodes)}
        start = depth
    return blocks


def walk(backend: Backend, rows: Sequence[Row], continuations: Sequence[Prefix]) -> Iterator[Visit]:
    """Read the same continuations after each of a batch of prompts; every node of their trie once.

    Args:
        backend: The model.
        rows: The prompts.
        continuations: What to feed after each; may be empty, and each other's beginnings.

    Yields:
        The prompt itself (the empty prefix), then every node, each after the one that it continues.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    session = backend.prefill(rows)
    following = finite_log_softmax(session.prompt_logits)
    children: dict[Prefix, list[Prefix]] = {}
    for node in dict.fromkeys(known[:depth] for known in continuations for depth in range(1, len(known) + 1)):
        children.setdefault(node[:-1], []).append(node)
    logprobs: dict[Prefix, torch.Tensor] = {(): following.new_zeros(len(rows))}

    def visit(node: Prefix, following: torch.Tensor) -> Visit:
        logprob = logprobs.pop(node)
        for child in children.get(node, ()):
            logprobs[child] = logprob + following[:, child[-1]]
        return Visit(node, logprob, following)

    yield visit((), following)
    for block in blocks_of(continuations):
        parents = torch.tensor(block.parents, device=backend.device)
        runs = torch.tensor([node[-block.length :] for node in block.prefixes], device=backend.device)
        logits = session.advance(parents.expand(len(rows), -1), runs.expand(len(rows), -1, -1))
        for place, node in enumerate(block.prefixes):
            for column in range(block.length):
                end = len(node) - block.length + column + 1
                yield visit(node[:end], finite_log_softmax(logits[:, place, column]))


def sequence_logprobs(
    backend: Backend, rows: Sequence[Row], sequences: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Log-probability of each sequence after each prompt; last tokens are predicted, but not fed.

    Args:
        backend: The model.
        rows: The prompts.
        sequences: Token ids, the same under every row; an empty one is certain.

    Returns:
        ``[rows, sequences]``, in nats.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
    """
    wanted = [tuple(sequence) for sequence in sequences]
    found: dict[Prefix, torch.Tensor] = {}
    for node, logprob, following in walk(backend, rows, [sequence[:-1] for sequence in wanted]):
        if not node:
            found[()] = logprob
        for sequence in wanted:
            if sequence and sequence[:-1] == node:
                found[sequence] = logprob + following[:, sequence[-1]]
    return torch.stack([found[sequence] for sequence in wanted], dim=1)


def node_count(continuations: Sequence[Prefix]) -> int:
    """Number of nodes of the trie, the prompt not counted: tokens that are fed after each prompt."""
    return len({known[:depth] for known in continuations for depth in range(1, len(known) + 1)})
