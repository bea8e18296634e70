"""How much memory reading prompts takes, from the shape of the model."""

from __future__ import annotations

from typing import Any

import psutil
import torch

from gilot_plugin.backends._transformers.samples import PROBE_TOKENS
from gilot_plugin.backends._transformers.tree.attention import attention_bytes
from gilot_plugin.backends.scoring.predictions import PART_BYTES
from gilot_plugin.backends.scoring.sessions import Load, Need

#: Share of the free memory that is used when no budget is set.
_SHARE = 0.5

#: Vectors of the hidden size, and of a feed-forward layer's, alive at once for a token within a layer.
_HIDDEN_COPIES, _INNER_COPIES = 8, 4

#: Bytes of masks for each new token and token that it may see, numbers of the kernels included.
_MASK_COPIES = 9

#: Scores of attention alive at once.
_SCORE_COPIES = 4

#: Bytes of bookkeeping for each token of a tree.
_TREE_BYTES = 64

#: Distributions over the vocabulary alive at once for each whose logits are read.
LOGIT_COPIES = 4


class MemoryModel:
    """Estimates, on the safe side, what a model needs beside its weights.

    Args:
        config: The language model's configuration.
        dtype: What it computes in.
        vocab_size: Length of a row of logits.
        device: Where it computes.
        sinks: Whether its attention has sinks, see :func:`has_sinks`.
    """

    def __init__(
        self, config: Any, dtype: torch.dtype, vocab_size: int, device: torch.device, sinks: bool = False
    ) -> None:
        size = dtype.itemsize
        heads = _largest(config, "num_attention_heads") or 1
        hidden = _largest(config, "hidden_size") or heads
        inner = _largest(config, "intermediate_size") or 4 * hidden
        layers = _largest(config, "num_hidden_layers") or 1
        kept_heads = _largest(config, "num_key_value_heads") or heads
        self._device, self._heads, self._layers = device, heads, layers
        self._token = _token_bytes(config, size)
        #: Keys and values of one token in one layer, for every head that asks for them.
        self._layer = self._token // layers * max(1, heads // kept_heads)
        self._activation = max(size, 4) * (_HIDDEN_COPIES * hidden + _INNER_COPIES * inner)
        self._state = 4 * hidden * size
        self._logits = LOGIT_COPIES * 4 * vocab_size
        self._probe = 4 * vocab_size * PROBE_TOKENS
        # Kernels that need no scores in memory neither bend them, nor know sinks or values of another size.
        bent = getattr(config, "attn_logit_softcapping", None) is not None
        self._keeps_scores = bent or sinks or _latent_sizes(config) is not None

    def of_trees(self, load: Load, most_tokens: int) -> Need:
        """What :class:`gilot_plugin.backends._transformers.tree.session.TreeSession` needs.

        Args:
            load: What is read.
            most_tokens: Tokens of a pass where there are many.
        """
        own = load.own + load.room
        seen = load.known + own
        passed = self._activation + _MASK_COPIES * seen
        scored = min(load.own, most_tokens) if self._keeps_scores else load.together
        attention = max(_SCORE_COPIES * 4 * self._heads * seen * scored, 3 * seen * self._layer)
        read = load.own + load.together
        return Need(
            (load.known + 1) * self._token,
            own * (self._token + _TREE_BYTES) + load.room * load.room + (1 + load.together) * self._state,
            (
                (read * passed, max(most_tokens, load.together) * passed),
                (attention, max(attention_bytes(self._device), attention)),
                (max(1, load.together) * self._logits, max(LOGIT_COPIES * PART_BYTES, self._logits)),
            ),
            self._probe,
        )

    def of_runs(self, load: Load) -> Need:
        """What sessions need that continue sequences by runs of tokens, whose logits are dense."""
        length = load.own + load.room
        kept = load.beams * length * self._token
        passed = max(load.own, load.together) * self._activation
        scores = _SCORE_COPIES * 4 * self._heads * length * length
        return Need(0, kept + passed + scores + (1 + load.together) * self._logits, (), self._probe)

    def of_gradient(self, tokens: int, predictions: int) -> Need:
        """What a pass needs that keeps everything for its gradient.

        Args:
            tokens: Of each row.
            predictions: At how many of them the logits are read.
        """
        layer = tokens * self._activation + _SCORE_COPIES * 4 * self._heads * tokens * tokens
        return Need(0, self._layers * layer + predictions * self._logits)

    def of_attentions(self, tokens: int) -> Need:
        """What a pass over one row needs that returns the attention of every head and layer."""
        maps = (self._layers + _SCORE_COPIES) * self._heads * 4 * tokens * tokens
        return Need(0, maps + tokens * self._activation + self._logits)


def has_sinks(model: Any) -> bool:
    """Whether tokens of the model also attend to a place of no value, whose scores are parameters."""
    return any(getattr(module, "sinks", None) is not None for module in model.modules())


def free_memory(device: torch.device) -> int:
    """Half of what the device has free, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int((free + unused) * _SHARE)
    return int(psutil.virtual_memory().available * _SHARE)


def _token_bytes(config: Any, element_size: int) -> int:
    """Keys and values of one token over all layers, in bytes."""
    layers = _largest(config, "num_hidden_layers") or 1
    heads = _largest(config, "num_attention_heads") or 1
    latent = _latent_sizes(config)
    if latent is not None:  # caches keep what it unfolds to
        return layers * heads * sum(latent) * element_size
    key_value_heads = _largest(config, "num_key_value_heads") or heads
    head_size = _largest(config, "head_dim") or (_largest(config, "hidden_size") or heads) // heads
    return 2 * layers * key_value_heads * head_size * element_size


def _latent_sizes(config: Any) -> tuple[int, int] | None:
    """Sizes of a key and of a value that latent attention unfolds; None for other attention."""
    if not _largest(config, "kv_lora_rank"):
        return None
    key = sum(_largest(config, name) or 0 for name in ("qk_nope_head_dim", "qk_rope_head_dim"))
    return key, _largest(config, "v_head_dim") or key


def _largest(config: Any, name: str) -> int | None:
    """A number of the configuration, which may list one for each layer; None where it has none."""
    layers = getattr(config, "per_layer_config", None)
    if not isinstance(layers, (list, tuple)):
        layers = ()
    values = [_listed(one, name) for one in (config, *layers)]
    return max((value for value in values if value is not None), default=None)


def _listed(config: Any, name: str) -> int | None:
    try:
        value = getattr(config, name, None)
    except Exception:
        # Settings that differ from layer to layer are those of the layers only, which the library says so.
        return None
    if isinstance(value, (list, tuple)):
        value = max((entry for entry in value if isinstance(entry, int)), default=None)
    return value if isinstance(value, int) and value > 0 else None
