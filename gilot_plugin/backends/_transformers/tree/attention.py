"""Attention of tokens that form trees after a shared prompt.

Rows of a batch have the beginning of a prompt in common, whose keys and values are stored once. After it,
each row has tokens of its own: the rest of its prompt, then a tree of continuations, in which a token sees
its ancestors. The function is registered with transformers as an attention implementation; models ask it for
each of their layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from gilot_plugin.backends._transformers.tree.masks import MaskFunction, MaskRule
from gilot_plugin.backends._transformers.tree.pass_view import KeyValues, PassView
from gilot_plugin.errors import UnsupportedModelError

#: Name of the attention implementation.
TREE_ATTENTION = "gilot_tree"

#: New tokens a row from which keys and values are put together for torch's own kernels; below, attention to
#: the prompt is one matrix product for all rows.
_FUSED_FROM = 32


#: Memory for scores, and for keys and values put together, by kind of device: rows take turns within it.
_ATTENTION_BYTES = {"cpu": 2**26, "cuda": 2**29}


def attention_bytes(device: torch.device) -> int:
    """Memory that attention takes, in bytes, unless a single row needs more."""
    return _ATTENTION_BYTES.get(device.type, _ATTENTION_BYTES["cuda"])


#: Arguments of attention that repeat what queries and keys have in them.
_POSITIONS = frozenset({"position_ids", "cache_position"})

_FEED: ContextVar[PassView] = ContextVar("feed")


@contextmanager
def reading(feed: PassView) -> Iterator[None]:
    """Let the attention function serve this pass."""
    token = _FEED.set(feed)
    try:
        yield
    finally:
        _FEED.reset(token)


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    s_aux: torch.Tensor | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as :class:`PassView` says; its arguments are those of transformers' attention functions.

    Args:
        module: The layer's attention module.
        query: ``[rows, heads, new, dim]``.
        key: ``[rows, key-value heads, own, dim]``.
        value: ``[rows, key-value heads, own, dim]``.
        attention_mask: One that :func:`tree_mask` made in this pass.
        scaling: Factor of the scores.
        dropout: Not looked at, models are read in evaluation mode.
        softcap: Scores are bent to stay within it, where the model's own attention does so.
        sliding_window: Tokens before the new one that are seen, itself included; looked at where the model's
            own attention would take its windows from here.
        s_aux: ``[heads]``, scores of a place that is always seen and has no value.
        is_causal: Whether tokens see those before them only, which they always do here.
        others: What else attention is given; of tensors, positions alone are not looked at.

    Returns:
        ``[rows, new, heads, dim]``.

    Raises:
        UnsupportedModelError: The mask is another, or there is more than keys and values to look at.
    """
    feed = _FEED.get()
    softcap = softcap if feed.softcaps else None
    unknown = [
        name for name, value in others.items() if isinstance(value, torch.Tensor) and name not in _POSITIONS
    ]
    if unknown or is_causal is False:
        raise UnsupportedModelError(
            f"its attention depends on more than its past: {(*unknown, 'is_causal')[0]}"
        )
    rule = feed.rule_of(attention_mask)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    plain = softcap is None and s_aux is None and query.shape[-1] == value.shape[-1]
    # In half precision, torch's kernels keep what the two products of the parts would round.
    fused = plain and (query.shape[2] >= _FUSED_FROM or query.dtype.itemsize < 4)
    out = []
    for group in feed.shared:
        past = group.layers[feed.layer] if group.layers else None
        if past is not None and past.keys.shape[::2] != key.shape[1::2]:
            raise UnsupportedModelError("its keys and values are unfolded after they were stored")
        past_seen, seen = feed.masks(group, rule, sliding_window, query.device)
        tokens = key.shape[2] + group.length
        vectors = 2 * (query.shape[3] + value.shape[3]) if fused else 3 * query.shape[2]
        row_bytes = 4 * query.shape[1] * tokens * vectors
        step = max(1, attention_bytes(query.device) // row_bytes)
        for start in range(group.rows.start, group.rows.stop, step):
            rows = slice(start, min(start + step, group.rows.stop))
            inside = slice(start - group.rows.start, rows.stop - group.rows.start)
            masks = (None if past_seen is None else past_seen[inside], seen[inside])
            states = (query[rows], key[rows], value[rows])
            out.append(
                _fused(*states, past, masks, scale)
                if fused
                else _in_two_halves(*states, past, masks, scale, softcap, s_aux)
            )
    # Some models take views of it.
    return (out[0] if len(out) == 1 else torch.cat(out)).contiguous(), None


def applies_softcap(implementation: str | None) -> bool:
    """Whether an attention implementation bends scores as it is told to, for some take no notice.

    Args:
        implementation: Its name; what models bring along themselves, ``eager``, always does.
    """
    function = ALL_ATTENTION_FUNCTIONS.get(implementation)
    if function is None:
        return True
    module = SimpleNamespace(is_causal=True, num_key_value_groups=1, training=False)
    states = torch.arange(4.0).view(1, 1, 2, 2)
    try:
        plain, bent = (
            function(module, states, states, states, None, scaling=1.0, softcap=cap)[0] for cap in (None, 1.0)
        )
    except Exception:
        # Kernels of other devices, which are made for it, or one that refuses what it cannot do.
        return True
    return not torch.equal(plain, bent)


def tree_mask(*_: Any, mask_function: MaskFunction, use_vmap: bool = False, **__: Any) -> torch.Tensor:
    """A mask for a pass of a tree; its arguments are those of transformers' mask functions.

    Args:
        mask_function: What the model lets its tokens see.
        use_vmap: Whether the function takes single numbers only.
    """
    return _FEED.get().issue(MaskRule(mask_function, use_vmap))


AttentionInterface.register(TREE_ATTENTION, tree_attention)
AttentionMaskInterface.register(TREE_ATTENTION, tree_mask)


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    past: KeyValues | None,
    masks: tuple[torch.Tensor | None, torch.Tensor],
    scale: float,
) -> torch.Tensor:
    """Attention by torch's own kernels, on keys and values of prompt and rows together."""
    rows, heads, new, _ = query.shape
    past_seen, seen = masks
    if past is not None:
        length = past.keys.shape[1]
        key = torch.cat((past.keys.expand(rows, -1, -1, -1), key), dim=2)
        value = torch.cat((past.values.expand(rows, -1, -1, -1), value), dim=2)
        if past_seen is None:
            past_seen = seen.new_ones(1, 1, length)
        seen = torch.cat((past_seen.expand(rows, new, length), seen), dim=2)
    groups = heads // key.shape[1]
    # Kernels that take masks do not take grouped heads.
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    found = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen[:, None], scale=scale
    )
    return found.transpose(1, 2)


def _in_two_halves(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    past: KeyValues | None,
    masks: tuple[torch.Tensor | None, torch.Tensor],
    scale: float,
    softcap: float | None,
    sinks: torch.Tensor | None,
) -> torch.Tensor:
    """Attention to the prompt, one product for all rows, and to the rows' own tokens, under one softmax."""
    rows, heads, new, dim = query.shape
    kept = key.shape[1]
    groups = heads // kept
    past_seen, seen = masks
    query = (query * scale).reshape(rows, kept, groups * new, dim)

    def scores(products: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """``[rows, kept, groups * new, n]``, float32, from the products of queries and keys."""
        found = products.float()
        if softcap is not None:
            found.div_(softcap).tanh_().mul_(softcap)
        if seen is not None:
            found.view(rows, kept, groups, new, -1).masked_fill_(~seen[:, None, None], float("-inf"))
        return found

    own = scores(query @ key.transpose(2, 3), seen)
    highest = own.amax(dim=3, keepdim=True)
    if past is not None:
        together = query.transpose(0, 1).reshape(kept, rows * groups * new, dim)
        products = (together @ past.keys.transpose(1, 2)).view(kept, rows, groups * new, -1)
        before = scores(products.transpose(0, 1), past_seen)
        highest = torch.maximum(highest, before.amax(dim=3, keepdim=True))
    if sinks is not None:
        sink = (
            sinks.float().view(1, kept, groups, 1).expand(rows, kept, groups, new).reshape(rows, kept, -1, 1)
        )
        highest = torch.maximum(highest, sink)
    highest.clamp_(min=torch.finfo(torch.float32).min)
    own.sub_(highest).exp_()
    total = own.sum(dim=3, keepdim=True)
    found = (own.to(value.dtype) @ value).float()
    if past is not None:
        before.sub_(highest).exp_()
        total += before.sum(dim=3, keepdim=True)
        flat = before.transpose(0, 1).reshape(kept, rows * groups * new, -1).to(value.dtype)
        found += (flat @ past.values).view(kept, rows, groups * new, -1).transpose(0, 1)
    if sinks is not None:
        total += (sink - highest).exp()
    found /= total.clamp_(min=torch.finfo(torch.float32).tiny)
    return found.to(value.dtype).view(rows, heads, new, -1).transpose(1, 2)
