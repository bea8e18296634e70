"""A prompt whose keys and values are kept for the rows that begin like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gilot_plugin.backends._transformers.tree.pass_view import KeyValues
from gilot_plugin.backends.rows import Row


@dataclass(frozen=True, eq=False)
class ReadPrompt:
    """A prompt that the model has read, but for its last token, from which predictions are made.

    Attributes:
        row: The prompt; None for one that nothing begins like.
        layers: Keys and values of its tokens, by layer that has some; empty for a prompt of one token.
    """

    row: Row | None
    layers: Mapping[int, KeyValues]


#: The prompt of rows that have none in common.
NOTHING = ReadPrompt(None, {})
