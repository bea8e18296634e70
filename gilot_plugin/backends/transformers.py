"""Causal language models of the transformers library."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import psutil
import torch

from gilot_plugin.backends.embedding import InputEmbedding
from gilot_plugin.backends.passes import Passes
from gilot_plugin.backends.probe import Reading, probe_positions, probe_reading
from gilot_plugin.backends.protocol import Row
from gilot_plugin.backends.sessions import CachedSession, RecomputingSession
from gilot_plugin.errors import UnsupportedModelError

_logger = logging.getLogger(__name__)

#: Share of the free memory that rows may take when no budget is set.
_MEMORY_SHARE = 0.5

#: Copies of a row's logits alive at once in the search: raw, log-softmax, cumulated, weighted.
_LOGIT_COPIES = 4


class TransformersBackend:
    """Runs a loaded ``PreTrainedModel`` (or a PEFT model around one) where it is, as it is.

    The model's weights, mode, configuration and generation settings are left alone. What its family can do is
    found out with a few tokens before the first use, see :mod:`gilot_plugin.backends.probe`.

    Args:
        model: The model.
        autocast_dtype: Run under autocast with this dtype, as lm-eval's ``mixed_precision_dtype`` does.

    Raises:
        UnsupportedModelError: The model is not a decoder-only language model.
    """

    def __init__(self, model: Any, autocast_dtype: torch.dtype | None = None) -> None:
        _check_decoder_only(model)
        text_config = model.config.get_text_config(decoder=True)
        self._model = model
        self._autocast_dtype = autocast_dtype
        self._embedding = InputEmbedding(model)
        self.device: torch.device = self._embedding.device
        self._passes = self._new_passes()
        self.eos_token_ids = _eos_ids(model)
        self.vocab_size: int = text_config.vocab_size
        self.max_positions: int | None = next(
            (
                value
                for name in ("n_positions", "max_position_embeddings", "n_ctx", "max_seq_len")
                if isinstance(value := getattr(text_config, name, None), int) and value > 0
            ),
            None,
        )
        self._cache_bytes_per_token = _cache_bytes_per_token(text_config, self._passes.dtype.itemsize)

    @property
    def model_tokens(self) -> int:
        """Token positions fed so far, padding and the probe's few tokens excluded."""
        return self._passes.model_tokens

    @property
    def recomputes(self) -> str | None:
        """Why every sequence is read whole at every step, in words; None where a cache is kept.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        return self._reading.recomputes

    @property
    def takes_positions(self) -> bool:
        """Whether tokens can be masked and positions be given, see :attr:`refuses_positions`."""
        return self.refuses_positions is None

    @cached_property
    def refuses_positions(self) -> str | None:
        """Why tokens cannot be masked while the others keep their positions, in words; None if they can.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        passes = self._new_passes()
        passes.inputs = self._reading.inputs
        return probe_positions(passes, self.vocab_size, self.max_positions, caches=self.recomputes is None)

    def prefill(self, rows: Sequence[Row]) -> CachedSession | RecomputingSession:
        """Read a batch of prompts; models whose past cannot be kept read them anew at each step."""
        session = CachedSession if self.recomputes is None else RecomputingSession
        return session(self._passes, rows)

    def continuation_logits(
        self, rows: Sequence[Row], continuations: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """See :meth:`gilot_plugin.backends.protocol.Backend.continuation_logits`.

        Rows that are equal are read once, and their continuations go on from the same keys and values.
        """
        if self.recomputes is not None:
            extended = [row.continued(tokens) for row, tokens in zip(rows, continuations, strict=True)]
            return self._passes.whole_logits(extended, [len(tokens) + 1 for tokens in continuations])
        places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
        source = torch.tensor([places[row] for row in rows], device=self.device)
        session = CachedSession(self._passes, list(places))
        first = session.prompt_logits[source].unsqueeze(1)
        longest = max(map(len, continuations))
        if longest == 0:
            return list(first)
        # Padding on the right is read by nothing before it.
        padded = [(*tokens, *(0,) * (longest - len(tokens))) for tokens in continuations]
        real = [(1,) * len(tokens) + (0,) * (longest - len(tokens)) for tokens in continuations]
        after = session.extend(
            source, torch.tensor(padded, device=self.device), torch.tensor(real, device=self.device)
        )
        return [
            torch.cat((first[index], after[index, : len(continuation)]))
            for index, continuation in enumerate(continuations)
        ]

    def embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the given ids, ``[n, dim]``, float32, without gradient."""
        return self._embedding(token_ids)

    def row_bytes(self, length: int, beams: int) -> int:
        """Peak memory of one row, in bytes: its beams' keys and values, and their logits."""
        return length * beams * self._cache_bytes_per_token + _LOGIT_COPIES * beams * self.vocab_size * 4

    def free_memory(self) -> int:
        """Half of what the device has free, in bytes."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return int((free + unused) * _MEMORY_SHARE)
        return int(psutil.virtual_memory().available * _MEMORY_SHARE)

    def _new_passes(self) -> Passes:
        lock = self._embedding.lock if self._embedding.is_hooked else None
        return Passes(self._model, self.device, self._autocast_dtype, lock)

    @cached_property
    def _reading(self) -> Reading:
        reading = probe_reading(self._new_passes(), self.vocab_size, self.max_positions)
        self._passes.inputs = reading.inputs
        if reading.recomputes is not None:
            _logger.warning(
                "%s is read whole at every step, which is slower: %s",
                type(self._model).__name__,
                reading.recomputes,
            )
        return reading


def _check_decoder_only(model: Any) -> None:
    if not isinstance(model, torch.nn.Module) or getattr(model, "config", None) is None:
        raise UnsupportedModelError(
            f"cannot attribute {type(model).__name__}: GiLOT needs a transformers model in this process, "
            "because it reads the full next-token distribution"
        )
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedModelError(
            f"cannot attribute {type(model).__name__}: encoder-decoder models are not supported, only "
            "decoder-only (causal) language models"
        )


def _eos_ids(model: Any) -> tuple[int, ...]:
    """Ids that end a generation, as transformers' ``generate`` takes them."""
    generation_config = getattr(model, "generation_config", None)
    for source in (generation_config, model.config, model.config.get_text_config(decoder=True)):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
    return ()


def _cache_bytes_per_token(config: Any, element_size: int) -> int:
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
