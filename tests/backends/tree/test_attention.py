"""Both ways to compute attention of trees, against attention written out token by token."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.backends.tree import attention
from gilot_plugin.backends.tree.attention import Feed, KeyValues, SharedRows, reading, tree_attention

DIM = 8


def plain(query, keys, values, seen, scale, softcap, sink):
    """One query ``[dim]`` over the tokens that it sees."""
    scores = (keys[seen] @ query).double() * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if sink is not None:
        scores = torch.cat((scores, sink.double()[None]))
    weights = scores.softmax(0)[: int(seen.sum())]
    return (weights.unsqueeze(1) * values[seen].double()).sum(0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    prompts=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=3),
    sizes=st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 3]), st.integers(1, 4), st.integers(0, 3)),
    window=st.sampled_from([None, 3]),
    extras=st.sampled_from(["none", "softcap", "sinks"]),
    fused_from=st.sampled_from([1, 1000]),
    memory=st.sampled_from([1, 2**26]),
)
def test_every_token_sees_what_it_should(seed, prompts, sizes, window, extras, fused_from, memory):
    draw = torch.Generator().manual_seed(seed)
    kept, groups, new, earlier = sizes
    rows, own = sum(count for _, count in prompts), earlier + new
    heads = kept * groups
    query = torch.randn(rows, heads, new, DIM, generator=draw)
    key, value = (torch.randn(rows, kept, own, DIM, generator=draw) for _ in range(2))
    own_seen = torch.rand(rows, new, own, generator=draw) < 0.5
    # A token sees itself at least.
    own_seen |= torch.arange(own) == torch.arange(earlier, own)[:, None]
    places = 5 + torch.arange(own).expand(rows, own)
    shared, start = [], 0
    for length, count in prompts:
        layer = KeyValues(*(torch.randn(kept, length, DIM, generator=draw) for _ in range(2)))
        seen = torch.randint(0, length + 1, (count,), generator=draw)
        shared.append(SharedRows(slice(start, start + count), [layer] if length else [], seen))
        start += count
    feed = Feed(
        slice(0, rows),
        slice(earlier, own),
        0,
        shared,
        own_seen,
        places,
        places[:, earlier:],
        places[:, earlier:],
    )
    softcap = 2.0 if extras == "softcap" else None
    sinks = torch.randn(heads, generator=draw) if extras == "sinks" else None
    with pytest.MonkeyPatch.context() as patch, reading(feed):
        patch.setattr(attention, "_FUSED_FROM", fused_from)
        patch.setattr(attention, "attention_bytes", lambda device: memory)
        found, _ = tree_attention(
            torch.nn.Module(), query, key, value, None, 0.3, 0.0, softcap, window, sinks
        )
    assert found.shape == (rows, new, heads, DIM)
    for group in shared:
        for row in range(group.rows.start, group.rows.stop):
            past = group.layers[0] if group.layers else KeyValues(*torch.zeros(2, kept, 0, DIM))
            before = torch.arange(past.keys.shape[1])
            for token in range(new):
                near = -1 if window is None else int(feed.places[row, token]) - window
                of_prompt = (before < group.seen[row - group.rows.start]) & (before > near)
                of_own = own_seen[row, token] & (places[row] > near)
                seen = torch.cat((of_prompt, of_own))
                for head in range(heads):
                    keys = torch.cat((past.keys[head // groups], key[row, head // groups]))
                    values = torch.cat((past.values[head // groups], value[row, head // groups]))
                    sink = None if sinks is None else sinks[head]
                    expected = plain(query[row, head, token], keys, values, seen, 0.3, softcap, sink)
                    torch.testing.assert_close(found[row, token, head].double(), expected, rtol=0, atol=1e-5)
