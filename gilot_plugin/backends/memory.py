"""How much memory reading prompts takes, from the shape of the model."""

from __future__ import annotations

from typing import Any

import psutil
import torch

from gilot_plugin.backends.predictions import PART_BYTES
from gilot_plugin.backends.protocol import Load, Need
from gilot_plugin.backends.tree.attention import attention_bytes

#: Share of the free memory that is used when no budget is set.
_SHARE = 0.5

#: Vectors of the hidden size, and of a feed-forward layer's, alive at once for a token within a layer.
_HIDDEN_COPIES, _INNER_COPIES = 8, 4

#: Distributions over the vocabulary alive at once for each whose logits are read.
LOGIT_COPIES = 4


class MemoryModel:
    """Estimates, on the safe side, what a model needs beside its weights.

    Args:
        config: The language model's configuration.
        dtype: What it computes in.
        vocab_size: Length of a row of logits.
        device: Where it computes.
    """

    def __init__(self, config: Any, dtype: torch.dtype, vocab_size: int, device: torch.device) -> None:
        size = dtype.itemsize
        heads = _largest(config, "num_attention_heads") or 1
        hidden = _largest(config, "hidden_size") or heads
        inner = _largest(config, "intermediate_size") or 4 * hidden
        self._heads, self._device = heads, device
        #: Keys and values of one token over all layers.
        self.token_bytes = _token_bytes(config, size)
        layers = _largest(config, "num_hidden_layers") or 1
        self._layer_bytes = self.token_bytes // layers * heads // max(1, _kept_heads(config, heads))
        self._activation = max(size, 4) * (_HIDDEN_COPIES * hidden + _INNER_COPIES * inner)
        self._state = 4 * hidden * size
        self._row_of_logits = 4 * vocab_size
        self._logits = LOGIT_COPIES * max(PART_BYTES, self._row_of_logits)

    def of_trees(self, load: Load, most_tokens: int) -> Need:
        """What :class:`gilot_plugin.backends.tree.session.TreeSession` needs.

        Args:
            load: What is read.
            most_tokens: Tokens of a pass where there are many.
        """
        own = load.own + load.room
        seen = load.known + own
        passed = max(most_tokens, load.together)
        scores = 4 * self._heads * seen * load.together
        attention = max(attention_bytes(self._device), 3 * scores, 3 * seen * self._layer_bytes)
        fixed = (load.known + 1) * self.token_bytes + passed * (self._activation + 5 * seen)
        row = own * (self.token_bytes + 32) + load.room * load.room + (1 + load.together) * self._state
        return Need(fixed + attention + self._logits, row)

    def of_runs(self, load: Load) -> Need:
        """What :class:`gilot_plugin.backends.sessions.RunSession` needs, whose logits are dense."""
        length = load.own + load.room
        read = max(load.own, load.together)
        row = (
            load.beams * length * self.token_bytes
            + read * self._activation
            + LOGIT_COPIES * load.together * self._row_of_logits
        )
        scores = 4 * self._heads * length * length
        return Need(self._logits + self.token_bytes * length, row + scores)


def free_memory(device: torch.device) -> int:
    """Half of what the device has free, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int((free + unused) * _SHARE)
    return int(psutil.virtual_memory().available * _SHARE)


def _kept_heads(config: Any, heads: int) -> int:
    return _largest(config, "num_key_value_heads") or heads


def _token_bytes(config: Any, element_size: int) -> int:
    """Keys and values of one token over all layers, in bytes."""
    layers = _largest(config, "num_hidden_layers") or 1
    heads = _largest(config, "num_attention_heads") or 1
    if _largest(config, "kv_lora_rank"):  # latent attention: caches keep what it unfolds to
        key = sum(_largest(config, name) or 0 for name in ("qk_nope_head_dim", "qk_rope_head_dim"))
        return layers * heads * (key + (_largest(config, "v_head_dim") or key)) * element_size
    key_value_heads = _largest(config, "num_key_value_heads") or heads
    head_size = _largest(config, "head_dim") or (_largest(config, "hidden_size") or heads) // heads
    return 2 * layers * key_value_heads * head_size * element_size


def _largest(config: Any, name: str) -> int | None:
    """A number of the configuration, which may list one for each layer; None where it has none."""
    value = getattr(config, name, None)
    if isinstance(value, (list, tuple)):
        value = max((entry for entry in value if isinstance(entry, int)), default=None)
    return value if isinstance(value, int) and value > 0 else None
