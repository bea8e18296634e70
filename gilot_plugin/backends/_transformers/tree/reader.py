"""Passes of a model in which every token sees what a tree says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from gilot_plugin.backends._transformers.body_and_head import BodyAndHead
from gilot_plugin.backends._transformers.closeness import Closeness
from gilot_plugin.backends._transformers.effects import found_by_effect
from gilot_plugin.backends._transformers.inputs import Inputs, collects_others
from gilot_plugin.backends._transformers.passes import Passes
from gilot_plugin.backends._transformers.tree.attention import TREE_ATTENTION, applies_softcap, reading
from gilot_plugin.backends._transformers.tree.masks import windows_by_argument
from gilot_plugin.backends._transformers.tree.pass_view import PassView, TreeStore
from gilot_plugin.errors import UnsupportedModelError


class TreeReader:
    """Makes the passes of tree sessions.

    Args:
        passes: Passes of the model, which say how it is called and count its tokens.

    Attributes:
        vocab_size: Length of a row of logits.
        inputs: Optional inputs of the model's body.

    Raises:
        UnsupportedModelError: The model is not made for it.
    """

    def __init__(self, passes: Passes) -> None:
        # Tokens before a cut see nothing of the tokens behind it, which no argument of the attention tells.
        if getattr(passes.text_config, "attention_chunk_size", None) is not None:
            raise UnsupportedModelError("its attention is cut into chunks")
        self.passes = passes
        self.split = BodyAndHead(passes.model)
        if not getattr(self.split.body, "_supports_attention_backend", True):
            raise UnsupportedModelError("its attention cannot be replaced by another one")
        self.vocab_size: int = passes.text_config.vocab_size
        self.inputs: Inputs = passes.inputs.body or self._find_inputs()
        if "cache" not in self.inputs:
            raise UnsupportedModelError("its body takes no cache")
        if "positions" not in self.inputs:
            raise UnsupportedModelError("its body numbers the positions itself")
        self._configs = _configs(self.split.body)
        implementations = {config._attn_implementation_internal for config in self._configs}
        self._windows_by_argument = any(map(windows_by_argument, implementations))
        self._softcaps = all(map(applies_softcap, implementations))

    def states(self, token_ids: torch.Tensor, store: TreeStore, feed: PassView) -> torch.Tensor:
        """Read new tokens.

        Args:
            token_ids: ``[rows, new]``.
            store: Keys and values of the rows, to which those of the new tokens come.
            feed: What the new tokens see.

        Returns:
            Last hidden states, ``[rows, new, dim]``, where the logits will be.
        """
        store.feed = feed
        feed.windows_by_argument, feed.softcaps = self._windows_by_argument, self._softcaps
        with self.passes.calling(), self._tree_attention(), reading(feed):
            given = self.inputs.given(positions=feed.positions, use_cache=True, cache=store)
            found = self.split.body(input_ids=token_ids, **given)
        states: torch.Tensor = found.last_hidden_state
        return states

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits, ``[n, vocab]``, of hidden states, ``[n, dim]``."""
        with self.passes.calling():
            return self.split.logits(states).to(self.passes.device)

    def _find_inputs(self) -> Inputs:
        body, passes = self.split.body, self.passes

        def call(token_ids: torch.Tensor, **named: Any) -> tuple[Mapping[str, Any], torch.Tensor]:
            with passes.calling():
                output = body(input_ids=token_ids, **named)
            return output, output.last_hidden_state.float()

        ids = torch.tensor([[self.vocab_size // part for part in (4, 3, 2)]], device=passes.device)
        known, close = Inputs.of(body.forward), Closeness(passes.dtype)
        if "cache" not in known and "cache" in passes.inputs and collects_others(body.forward):
            known = known.calling("cache", passes.inputs.names["cache"])
        wanted = ("use_cache", "positions", "cache")
        return found_by_effect(known, body.forward, call, ids, passes.text_config, close, wanted)

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
