"""Passes of a model in which every token sees what a tree says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gilot_plugin.backends.halves import Halves
from gilot_plugin.backends.inputs import cache_argument
from gilot_plugin.backends.passes import Passes
from gilot_plugin.backends.tree.attention import TREE_ATTENTION, reading
from gilot_plugin.backends.tree.feed import Feed, TreeStore
from gilot_plugin.backends.tree.masks import windows_by_argument
from gilot_plugin.errors import UnsupportedModelError


class TreeReader:
    """Makes the passes of tree sessions.

    Args:
        passes: Passes of the model, which say how it is called and count its tokens.

    Attributes:
        vocab_size: Length of a row of logits.

    Raises:
        UnsupportedModelError: The model is not made for it.
    """

    def __init__(self, passes: Passes) -> None:
        # Tokens before a cut see nothing of the tokens behind it, which no argument of the attention tells.
        if getattr(passes.text_config, "attention_chunk_size", None) is not None:
            raise UnsupportedModelError("its attention is cut into chunks")
        self.passes = passes
        self.halves = Halves(passes.model)
        if not getattr(self.halves.body, "_supports_attention_backend", True):
            raise UnsupportedModelError("its attention cannot be replaced by another one")
        cache = cache_argument(self.halves.body.forward) or passes.inputs.cache
        if cache is None:
            raise UnsupportedModelError("it takes no cache")
        self._cache = cache
        self._configs = _configs(self.halves.body)
        self._windows_by_argument = any(
            windows_by_argument(config._attn_implementation_internal) for config in self._configs
        )
        self.vocab_size: int = passes.text_config.vocab_size

    def states(self, token_ids: torch.Tensor, store: TreeStore, feed: Feed) -> torch.Tensor:
        """Read new tokens.

        Args:
            token_ids: ``[rows, new]``.
            store: Keys and values of the rows, to which those of the new tokens come.
            feed: What the new tokens see.

        Returns:
            Last hidden states, ``[rows, new, dim]``, where the logits will be.
        """
        store.feed = feed
        feed.windows_by_argument = self._windows_by_argument
        with self.passes.calling(), self._tree_attention(), reading(feed):
            found = self.halves.body(
                input_ids=token_ids, position_ids=feed.positions, use_cache=True, **{self._cache: store}
            )
        states: torch.Tensor = found.last_hidden_state
        return states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits, ``[n, vocab]``, of hidden states, ``[n, dim]``."""
        with self.passes.calling():
            return self.halves.logits(states).to(self.passes.device)

    @contextmanager
    def _tree_attention(self) -> Iterator[None]:
        before = [config._attn_implementation_internal for config in self._configs]
        try:
            for config in self._configs:
                config._attn_implementation_internal = TREE_ATTENTION
            yield
        finally:
            for config, implementation in zip(self._configs, before, strict=True):
                config._attn_implementation_internal = implementation


def _configs(body: torch.nn.Module) -> list[Any]:
    """The configurations in which the modules of a model look up their attention."""
    found = {id(config): config for module in body.modules() if (config := getattr(module, "config", None))}
    return [config for config in found.values() if hasattr(config, "_attn_implementation_internal")]
