"""What the new tokens of a pass over trees see, and where their keys and values are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import Cache, DynamicLayer

from gilot_plugin.backends._transformers.tree.masks import MaskRule
from gilot_plugin.errors import UnsupportedModelError


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
        layers: Keys and values of the prompt, by layer that has some.
        seen: ``[rows]``, how many of the prompt's tokens each row has in common with it.
        least: The fewest of them.
    """

    rows: slice
    layers: Mapping[int, KeyValues]
    seen: torch.Tensor
    least: int

    @property
    def length(self) -> int:
        """Tokens of the prompt that are looked at."""
        return next((layer.keys.shape[1] for layer in self.layers.values()), 0)


@dataclass(slots=True)
class PassView:
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
        softcaps: Whether scores are bent as attention is told to.
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
    softcaps: bool = True
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
            "its attention is given no mask"
            if mask is None
            else "it makes masks of its own for its attention"
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
        if group.least < group.length:
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


class _NoLayers(list[Any]):
    """Stands where caches have their layers, which hold whatever a model keeps beside keys and values."""

    def __getitem__(self, place: Any) -> Any:
        raise UnsupportedModelError("some of its layers keep a state, which branches cannot share")


class TreeStore(Cache):
    """Keys and values of the rows' own tokens, written where a pass says; earlier ones stay in place.

    Args:
        rows: Number of rows.
        columns: Tokens that a row may have.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(layer_class_to_replicate=DynamicLayer)
        self.layers = _NoLayers()
        self._shape = (rows, columns)
        self._stored: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.feed: PassView | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store what is new; return all of the rows' own tokens, ``[rows, heads, own, dim]`` each."""
        feed = self.feed
        assert feed is not None
        feed.layer = layer_idx
        if layer_idx not in self._stored:
            # Zeros, for what nothing attends to is multiplied by 0, too.
            keys, values = (
                states.new_zeros(self._shape[0], states.shape[1], self._shape[1], states.shape[3])
                for states in (key_states, value_states)
            )
            self._stored[layer_idx] = keys, values
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
        self._stored = {layer: (keys[rows], values[rows]) for layer, (keys, values) in self._stored.items()}

    def layers_of_row(self, row: int, columns: slice) -> dict[int, KeyValues]:
        """Keys and values of some columns of one row, by layer that has some."""
        return {
            layer: KeyValues(keys[row, :, columns], values[row, :, columns])
            for layer, (keys, values) in self._stored.items()
        }
