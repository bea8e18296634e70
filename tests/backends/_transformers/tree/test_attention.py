"""Both ways to compute attention of trees, against attention written out token by token."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask, sliding_window_causal_mask_function

from gilot_plugin.backends._transformers.tree import attention, masks
from gilot_plugin.backends._transformers.tree.attention import reading, tree_attention, tree_mask
from gilot_plugin.backends._transformers.tree.masks import MaskRule
from gilot_plugin.backends._transformers.tree.pass_view import KeyValues, PassView, SharedRows
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import UnsupportedModelError
from tests.backends.plain import plain_logprobs, tree_errors

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
    by_argument=st.booleans(),
    extras=st.sampled_from(["none", "softcap", "sinks"]),
    fused_from=st.sampled_from([1, 1000]),
    memory=st.sampled_from([1, 2**26]),
)
def test_every_token_sees_what_it_should(
    seed, prompts, sizes, window, by_argument, extras, fused_from, memory
):
    draw = torch.Generator().manual_seed(seed)
    kept, groups, new, earlier = sizes
    rows, own = sum(count for _, count in prompts), earlier + new
    heads = kept * groups
    query = torch.randn(rows, heads, new, DIM, generator=draw)
    key, value = (torch.randn(rows, kept, own, DIM, generator=draw) for _ in range(2))
    own_seen = (torch.rand(rows, new, own, generator=draw) < 0.5).tril(earlier)
    # A token sees itself at least.
    own_seen |= torch.arange(own) == torch.arange(earlier, own)[:, None]
    places = 5 + torch.arange(own).expand(rows, own)
    shared, start = [], 0
    for length, count in prompts:
        layer = KeyValues(*(torch.randn(kept, length, DIM, generator=draw) for _ in range(2)))
        seen = torch.randint(0, length + 1, (count,), generator=draw)
        layers = {0: layer} if length else {}
        shared.append(SharedRows(slice(start, start + count), layers, seen, int(seen.min())))
        start += count
    feed = PassView(
        slice(0, rows),
        slice(earlier, own),
        0,
        shared,
        own_seen,
        places,
        places[:, earlier:],
        places[:, earlier:],
        windows_by_argument=by_argument,
    )
    # What transformers makes of a window, and of none; an argument says the same to kernels without masks.
    seen_by_mask = (
        causal_mask_function if by_argument or window is None else sliding_window_causal_mask_function(window)
    )
    softcap = 2.0 if extras == "softcap" else None
    sinks = torch.randn(heads, generator=draw) if extras == "sinks" else None
    with pytest.MonkeyPatch.context() as patch, reading(feed):
        patch.setattr(attention, "_FUSED_FROM", fused_from)
        patch.setattr(attention, "attention_bytes", lambda device: memory)
        mask = tree_mask(mask_function=seen_by_mask)
        # Models hand the window on to whatever attention they have.
        found, _ = tree_attention(
            torch.nn.Module(), query, key, value, mask, 0.3, 0.0, softcap, window, sinks
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


def test_masks_that_are_not_the_models_own():
    places = torch.arange(4)[None]
    feed = PassView(
        slice(0, 1),
        slice(0, 4),
        0,
        [SharedRows(slice(0, 1), {}, torch.zeros(1, dtype=torch.long), 0)],
        torch.ones(1, 4, 4, dtype=torch.bool).tril(),
        places,
        places,
        places,
    )
    states = torch.ones(3, 1, 1, 4, DIM)
    with reading(feed):
        mask = tree_mask(mask_function=causal_mask_function)
        tree_attention(torch.nn.Module(), *states, mask)
        with pytest.raises(UnsupportedModelError, match="given no mask"):
            tree_attention(torch.nn.Module(), *states, None)
        with pytest.raises(UnsupportedModelError, match="masks of its own"):
            tree_attention(torch.nn.Module(), *states, mask & mask)
        mask[:, :, 3, 0] = False
        with pytest.raises(UnsupportedModelError, match="masks of its own"):
            tree_attention(torch.nn.Module(), *states, mask)
        with pytest.raises(UnsupportedModelError, match="looks ahead"):
            tree_mask(mask_function=lambda batch, head, query, key: key <= query + 1)


def test_mask_functions_of_single_numbers():
    """Composed masks of users may branch, which tensors cannot."""
    by_element = MaskRule(
        lambda batch, head, query, key: torch.where(key > query - 2, key <= query, False), True
    )
    rows, queries, keys = torch.arange(2), torch.tensor([[3, 4], [2, 2]]), torch.arange(6)[None]
    found = by_element.allows(rows, queries, keys)
    expected = [[[k in (q - 1, q) for k in range(6)] for q in row] for row in queries.tolist()]
    assert found.tolist() == expected


def deaf(*arguments: object, softcap: float | None = None, **named: object) -> object:
    """Takes no notice of ``softcap``, as the ``sdpa`` of some releases."""
    return sdpa_attention_forward(*arguments, **named)


def test_scores_are_bent_where_the_models_own_attention_bends_them(make_tiny_model, monkeypatch):
    AttentionInterface.register("deaf", deaf)
    AttentionMaskInterface.register("deaf", sdpa_mask)
    monkeypatch.setattr(masks, "_MASKED_IMPLEMENTATIONS", masks._MASKED_IMPLEMENTATIONS | {"deaf"})
    rows = [Row((5, 17, 120, 9)), Row((5, 17, 9))]
    predicted = []
    for implementation in ("eager", "deaf"):
        model = make_tiny_model("gemma2", attn_logit_softcapping=0.5)
        model.set_attn_implementation(implementation)
        backend = TransformersBackend(model)
        assert backend.no_trees is None
        assert tree_errors(backend, model, rows) < 1e-4
        predicted.append(plain_logprobs(model, rows[0]))
    assert (predicted[0] - predicted[1]).abs().max() > 1e-2
