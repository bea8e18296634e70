"""A tree of tokens as runs, for models that continue sequences only at their ends."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from gilot_plugin.backends.scoring.sessions import TokenTree


class Block(NamedTuple):
    """Runs of nodes between two depths at which the tree branches or a branch ends.

    Runs of a block have the same length, so that a batch of them needs no padding.

    Attributes:
        parents: For each run, the run of the block before that it continues; 0, the prompt, in the first.
        runs: Nodes of each run, from the prompt on.
    """

    parents: tuple[int, ...]
    runs: tuple[tuple[int, ...], ...]


def blocks_of(tree: TokenTree) -> list[Block]:
    """Cut a tree into blocks, from the prompt on; each of its nodes is in one run."""
    children = Counter(tree.parents)
    blocks: list[Block] = []
    level: dict[int, tuple[tuple[int, ...], int]] = {-1: ((), 0)}
    while True:
        # For each node of the next depth: its run so far, and the run before that.
        level = {
            node: ((*level[parent][0], node), level[parent][1])
            for node, parent in enumerate(tree.parents)
            if parent in level
        }
        if not level:
            return blocks
        if any(children[node] != 1 for node in level):
            runs, parents = zip(*level.values(), strict=True)
            blocks.append(Block(parents, runs))
            level = {node: ((), place) for place, node in enumerate(level)}
