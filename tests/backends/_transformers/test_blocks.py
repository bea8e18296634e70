"""Trees as runs: each node is in one, and runs are as long as they can be."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gilot_plugin.backends._transformers.blocks import blocks_of
from gilot_plugin.backends.scoring.sessions import TokenTree
from gilot_plugin.backends.scoring.trie import Trie

#: Few tokens, so that continuations begin alike; empty ones, duplicates and beginnings of others among them.
TREES = st.lists(st.lists(st.integers(5, 7), max_size=5).map(tuple), max_size=6).map(
    lambda continuations: Trie(continuations).tree
)


@settings(deadline=None)
@given(TREES)
@example(TokenTree((), ()))
@example(TokenTree((5, 6, 7), (-1, 0, 1)))
def test_each_node_is_in_one_run_of_one_block(tree):
    fed, before = [], [-1]
    for block in blocks_of(tree):
        assert len(block.parents) == len(block.runs)
        assert len({len(run) for run in block.runs}) == 1
        for parent, run in zip(block.parents, block.runs, strict=True):
            above = [before[parent], *run[:-1]]
            assert [tree.parents[node] for node in run] == above
            fed.extend(run)
        before = [run[-1] for run in block.runs]
    assert sorted(fed) == list(range(len(tree.tokens)))


@settings(deadline=None)
@given(TREES)
def test_blocks_end_only_where_the_tree_branches_or_a_branch_ends(tree):
    for block in blocks_of(tree):
        assert any(tree.parents.count(run[-1]) != 1 for run in block.runs)
