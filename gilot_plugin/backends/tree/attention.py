"""Attention of tokens that form trees after a shared prompt.

Rows of a batch have the beginning of a prompt in common, whose keys and values are stored once. After it,
each row has tokens of its own: the rest of its prompt, then a tree of continuations, in which a token sees
its ancestors. The function is registered with transformers as an attention implementation; models ask it for
each of their layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicLayer

from gilot_plugin.backends.tree.masks import MaskFunction, MaskRule
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


class KeyValues(NamedTuple):
    """Of one layer, ``[heads, tokens, dim]`` each."""

    keys: torch.Tensor
    values: torch.Tensor

    def first(self, tokens: int) -> KeyValues:
        """Of the first tokens only."""
        return KeyValues(self.keys[:, :tokens], self.values[:, :tokens])


class SharedRows(NamedTuple):
    """Rows that follow the same prompt.

    Attributes:
        rows: The rows.
        layers: Keys and values of the prompt, by layer.
        seen: ``[rows]``, how many of the prompt's tokens each row has in common with it.
    """

    rows: slice
    layers: Sequence[KeyValues]
    seen: torch.Tensor

    @property
    def length(self) -> int:
        """Tokens of the prompt that are looked at."""
        return self.layers[0].keys.shape[1] if self.layers else 0


@dataclass(slots=True)
class Feed:
    """What the new tokens of one pass see.

    Attributes:
        rows: Rows of the store that take part.
        columns: Where the new tokens come among the rows' own ones.
        first: The first of those that is looked at; no row that takes part sees any before it.
        shared: The rows by prompt, counted from the first that takes part; those of no prompt have no layers.
        own_seen: ``[rows, new, own]``, which of the row's own tokens each new one sees, from ``first`` on.
        own_places: ``[rows, own]``, of the same: how many tokens of the row come before each.
        places: ``[rows, new]``
        positions: ``[rows, new]``
        windows_by_argument: Whether windows are those that attention is called with, not those of the masks.
        layer: The layer that is being read.
    """

    rows: slice
    columns: slice
    first: int
    shared: Sequence[SharedRows]
    own_seen: torch.Tensor
    own_places: torch.Tensor
    places: torch.Tensor
    positions: torch.Tensor
    windows_by_argument: bool = False
    layer: int = 0
    #: Masks as the model holds them, and what they stand for.
    _issued: list[tuple[torch.Tensor, MaskRule]] = field(default_factory=list)
    _masks: dict[Any, tuple[torch.Tensor | None, torch.Tensor]] = field(default_factory=dict)

    def issue(self, rule: MaskRule) -> torch.Tensor:
        """A mask for the model to hand on to its attention, ``[rows, 1, new, own]``.

        Raises:
            UnsupportedModelError: It shows tokens what comes after them.
        """
        rows = torch.arange(len(self.places), device=self.places.device)
        rule.check(rows, self.places)
        mask = self.own_seen[:, None].clone()
        self._issued.append((mask, rule))
        return mask

    def rule_of(self, mask: torch.Tensor | None) -> MaskRule:
        """What a mask stands for that attention is called with.

        Raises:
            UnsupportedModelError: It is none of those that the model asked for in this pass.
        """
        for issued, rule in self._issued:
            # Versions count changes in place; where there are none, nobody counts.
            if mask is issued and (mask.is_inference() or mask._version == 0):
                return rule
        raise UnsupportedModelError(
            "its attention is given no mask" if mask is None else "it makes masks of its own for its attention"
        )

    def masks(
        self, group: SharedRows, rule: MaskRule, window: int | None, device: torch.device
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """What rows of a group see of the prompt and of their own tokens.

        Args:
            group: The rows.
            rule: What the model lets them see; not looked at where windows are told by argument.
            window: Most tokens back that are seen, the new one included, where windows are told so.
            device: Where the masks are needed.

        Returns:
            ``[rows, new or 1, prompt]``, None where all is seen, and ``[rows, new, own]``.
        """
        by_argument = self.windows_by_argument
        key = (group.rows.start, window if by_argument else id(rule.function), device)
        if key not in self._masks:
            past, own = self._seen(group, None if by_argument else rule, window if by_argument else None)
            self._masks[key] = (None if past is None else past.to(device), own.to(device))
        return self._masks[key]

    def _seen(
        self, group: SharedRows, rule: MaskRule | None, window: int | None
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        own, own_places = self.own_seen[group.rows], self.own_places[group.rows]
        places, seen = self.places[group.rows], group.seen
        prompt = torch.arange(group.length, device=seen.device)
        past: torch.Tensor | None = None
        if int(seen.min()) < group.length:
            past = prompt < seen[:, None, None]
        if rule is not None and not rule.is_causal:
            rows = torch.arange(group.rows.start, group.rows.stop, device=seen.device)
            near, own_near = (rule.allows(rows, places, keys) for keys in (prompt[None], own_places))
        elif window is not None:
            first = places[:, :, None] - window
            near, own_near = prompt > first, own_places[:, None] > first
        else:
            return past, own
        return near if past is None else near & past, own & own_near


class TreeStore(Cache):
    """Keys and values of the rows' own tokens, written where a pass says; earlier ones stay in place.

    Args:
        rows: Number of rows.
        columns: Tokens that a row may have.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self._shape = (rows, columns)
        self._stored: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.feed: Feed | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store what is new; return all of the rows' own tokens, ``[rows, heads, own, dim]`` each."""
        feed = self.feed
        assert feed is not None
        feed.layer = layer_idx
        if len(self._stored) == layer_idx:
            # Zeros, for what nothing attends to is multiplied by 0, too.
            keys, values = (
                states.new_zeros(self._shape[0], states.shape[1], self._shape[1], states.shape[3])
                for states in (key_states, value_states)
            )
            self._stored.append((keys, values))
        keys, values = self._stored[layer_idx]
        keys[feed.rows, :, feed.columns], values[feed.rows, :, feed.columns] = key_states, value_states
        own = slice(feed.first, feed.columns.stop)
        return keys[feed.rows, :, own], values[feed.rows, :, own]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Own tokens before the new ones."""
        return 0 if self.feed is None else self.feed.columns.start

    def keep(self, rows: torch.Tensor) -> None:
        """Keep some of the rows, ``[n]``, in the order given."""
        self._shape = (len(rows), self._shape[1])
        for layer, (keys, values) in enumerate(self._stored):
            self._stored[layer] = keys[rows], values[rows]

    def layers_of_row(self, row: int) -> list[KeyValues]:
        """Keys and values of one row, by layer."""
        return [KeyValues(keys[row], values[row]) for keys, values in self._stored]


_FEED: ContextVar[Feed] = ContextVar("feed")


@contextmanager
def reading(feed: Feed) -> Iterator[None]:
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
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention as :class:`Feed` says; its arguments are those of transformers' attention functions.

    Args:
        module: The layer's attention module.
        query: ``[rows, heads, new, dim]``.
        key: ``[rows, key-value heads, own, dim]``.
        value: ``[rows, key-value heads, own, dim]``.
        attention_mask: One that :func:`tree_mask` made in this pass.
        scaling: Factor of the scores.
        dropout: Not looked at, models are read in evaluation mode.
        softcap: Scores are bent to stay within it.
        sliding_window: Tokens before the new one that are seen, itself included; looked at where the model's own
            attention would take its windows from here.
        s_aux: ``[heads]``, scores of a place that is always seen and has no value.

    Returns:
        ``[rows, new, heads, dim]``.

    Raises:
        UnsupportedModelError: The mask is another.
    """
    feed = _FEED.get()
    rule = feed.rule_of(attention_mask)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    plain = softcap is None and s_aux is None and query.shape[-1] == value.shape[-1]
    # In half precision, torch's kernels keep what the two products of the parts would round.
    fused = plain and (query.shape[2] >= _FUSED_FROM or query.dtype.itemsize < 4)
    out = []
    for group in feed.shared:
        past = group.layers[feed.layer] if group.layers else None
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
                else _in_two_parts(*states, past, masks, scale, softcap, s_aux)
            )
    return (out[0] if len(out) == 1 else torch.cat(out)), None


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


def _in_two_parts(
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
