"""Causal language models of the transformers library."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import psutil
import torch
from transformers import DynamicCache

from gilot_plugin.backends.protocol import Row
from gilot_plugin.errors import UnsupportedModelError

#: Share of the free memory that rows may take when no budget is set.
_MEMORY_SHARE = 0.5

#: Copies of a row's logits alive at once in the search: raw, log-softmax, cumulated, weighted.
_LOGIT_COPIES = 4


class TransformersBackend:
    """Runs a loaded ``PreTrainedModel`` (or a PEFT model around one) where it is, as it is.

    The model's weights, mode, configuration and generation settings are left alone.

    Args:
        model: The model.
        autocast_dtype: Run under autocast with this dtype, as lm-eval's ``mixed_precision_dtype`` does.

    Raises:
        UnsupportedModelError: The model is not a decoder-only language model.
    """

    def __init__(self, model: Any, autocast_dtype: torch.dtype | None = None) -> None:
        _check_decoder_only(model)
        text_config = model.config.get_text_config(decoder=True)
        embedding = model.get_input_embeddings()
        if embedding is None or not hasattr(embedding, "weight"):
            raise UnsupportedModelError(
                f"cannot attribute {type(model).__name__}: it has no input embedding matrix"
            )
        self._model = model
        self._text_config = text_config
        self._embedding = embedding
        self._autocast_dtype = autocast_dtype
        parameters = inspect.signature(_innermost(model).forward).parameters
        self._keeps_logits = "logits_to_keep" in parameters
        self.takes_positions = "position_ids" in parameters
        self._caches = "past_key_values" in parameters and not getattr(
            _innermost(model), "_is_stateful", False
        )
        self.device: torch.device = embedding.weight.device
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
        self.model_tokens = 0
        self._cache_bytes_per_token = _cache_bytes_per_token(text_config, embedding.weight.element_size())

    def prefill(self, rows: Sequence[Row]) -> _CachedSession | _RecomputingSession:
        """Read a batch of prompts; models without a key-value cache read them anew at each step."""
        return _CachedSession(self, rows) if self._caches else _RecomputingSession(self, rows)

    def continuation_logits(
        self, rows: Sequence[Row], continuations: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """See :meth:`gilot_plugin.backends.protocol.Backend.continuation_logits`.

        Rows that are equal are read once, and their continuations go on from the same keys and values.
        """
        if not self._caches:
            extended = [row.continued(tokens) for row, tokens in zip(rows, continuations, strict=True)]
            return self.whole_logits(extended, [len(tokens) + 1 for tokens in continuations])
        places = {row: place for place, row in enumerate(dict.fromkeys(rows))}
        source = torch.tensor([places[row] for row in rows], device=self.device)
        session = _CachedSession(self, list(places))
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

    def whole_logits(self, rows: Sequence[Row], keep: Sequence[int]) -> list[torch.Tensor]:
        """Read each row in one piece, without keys and values of earlier passes.

        Rows of different lengths are read one after the other: a recurrent state would remember padding.

        Args:
            rows: What to read.
            keep: For each row, at how many of its last tokens the logits are wanted.

        Returns:
            For each row, ``[keep, vocab]``.
        """
        by_length: dict[int, list[int]] = {}
        for index, row in enumerate(rows):
            by_length.setdefault(len(row.token_ids), []).append(index)
        found: dict[int, torch.Tensor] = {}
        for members in by_length.values():
            batch = _LeftPadded([rows[index] for index in members], self.device)
            most = max(keep[index] for index in members)
            logits = self.forward(batch.token_ids, batch.attended, batch.positions, keep=most).logits
            found.update({index: logits[place, -keep[index] :] for place, index in enumerate(members)})
        return [found[index] for index in range(len(rows))]

    def embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the given ids, ``[n, dim]``, float32, without gradient."""
        rows: torch.Tensor = self._embedding.weight.detach()[token_ids.to(self.device)]
        return rows.float()

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

    def forward(
        self,
        token_ids: torch.Tensor,
        attended: torch.Tensor,
        positions: torch.Tensor,
        keep: int,
        cache: Any = None,
    ) -> Any:
        """One pass of the model.

        Args:
            token_ids: ``[rows, new]``.
            attended: ``[rows, past + new]``, 0 on padding.
            positions: ``[rows, new]``.
            keep: Number of last positions whose logits are computed.
            cache: Keys and values of the past; None for a pass without.

        Returns:
            The model's output, with float32 ``logits`` ``[rows, keep, vocab]``.
        """
        new = token_ids.shape[1]
        self.model_tokens += int(attended[:, -new:].sum())
        inputs: dict[str, Any] = {
            "input_ids": token_ids,
            "attention_mask": attended,
            "use_cache": cache is not None,
        }
        if cache is not None:
            inputs["past_key_values"] = cache
        if self.takes_positions:
            inputs["position_ids"] = positions
        if self._keeps_logits:
            inputs["logits_to_keep"] = keep
        with torch.no_grad(), self._autocast():
            output = self._model(**inputs, return_dict=True)
        output.logits = output.logits[:, -keep:].to(self.device).float()
        return output

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        enabled = self._autocast_dtype is not None
        with torch.autocast(self.device.type, dtype=self._autocast_dtype, enabled=enabled):
            yield


class _LeftPadded:
    """Rows of different lengths as one batch whose last column holds the last token of each.

    Attributes:
        token_ids: ``[rows, longest]``; padding repeats the row's first token, which is always a valid id.
        attended: ``[rows, longest]``, 0 on padding and on tokens that are not attended to.
        positions: ``[rows, longest]``.
        next_positions: ``[rows]``, the position of the token to come.
    """

    def __init__(self, rows: Sequence[Row], device: torch.device) -> None:
        longest = max(len(row.token_ids) for row in rows)
        ids, attended, positions = [], [], []
        for row in rows:
            padding = longest - len(row.token_ids)
            ids.append((row.token_ids[0],) * padding + row.token_ids)
            attended.append((False,) * padding + (row.attended or (True,) * len(row.token_ids)))
            positions.append((0,) * padding + (row.positions or tuple(range(len(row.token_ids)))))
        self.token_ids = torch.tensor(ids, device=device)
        self.attended = torch.tensor(attended, dtype=torch.long, device=device)
        self.positions = torch.tensor(positions, device=device)
        self.next_positions = torch.tensor([row.next_position for row in rows], device=device)


class _CachedSession:
    """Sequences that continue from a key-value cache, which is reordered when they change parents."""

    def __init__(self, backend: TransformersBackend, rows: Sequence[Row]) -> None:
        batch = _LeftPadded(rows, backend.device)
        self._backend = backend
        self._cache = DynamicCache(config=backend._text_config)
        output = backend.forward(batch.token_ids, batch.attended, batch.positions, keep=1, cache=self._cache)
        self.prompt_logits: torch.Tensor = output.logits[:, 0]
        self._attended = batch.attended
        self._next_positions = batch.next_positions
        self._sequences = 1

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        rows, sequences, length = tokens.shape
        offsets = torch.arange(rows, device=parents.device).unsqueeze(1) * self._sequences
        self._sequences = sequences
        fed = tokens.flatten(0, 1)
        logits = self.extend((parents + offsets).flatten(), fed, torch.ones_like(fed))
        return logits.view(rows, sequences, length, -1)

    def extend(self, source: torch.Tensor, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Feed tokens after given sequences of the batch, which may be repeated, dropped or reordered.

        Args:
            source: ``[new rows]``, the sequence that each new one continues.
            tokens: ``[new rows, new]``, padded on the right.
            real: ``[new rows, new]``, 0 on padding.

        Returns:
            Logits after each of the tokens, ``[new rows, new, vocab]``.
        """
        new = tokens.shape[1]
        self._cache.reorder_cache(cast("torch.LongTensor", source))
        self._attended = torch.cat((self._attended[source], real), dim=1)
        # Padding repeats a position, so that none lies beyond the model's window.
        starts = self._next_positions[source]
        positions = starts.unsqueeze(1) + (real.cumsum(dim=1) - 1).clamp(min=0)
        self._next_positions = starts + real.sum(dim=1)
        output = self._backend.forward(tokens, self._attended, positions, keep=new, cache=self._cache)
        logits: torch.Tensor = output.logits
        return logits


class _RecomputingSession:
    """Sequences that are read whole at every step, for models whose state cannot be reordered."""

    def __init__(self, backend: TransformersBackend, rows: Sequence[Row]) -> None:
        self._backend = backend
        self._sequences = [[row] for row in rows]
        self.prompt_logits: torch.Tensor = self._read(1)[:, 0, 0]

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        self._sequences = [
            [known[parent].continued(run) for parent, run in zip(*steps, strict=True)]
            for known, *steps in zip(self._sequences, parents.tolist(), tokens.tolist(), strict=True)
        ]
        return self._read(tokens.shape[2])

    def _read(self, keep: int) -> torch.Tensor:
        """Logits after the last tokens of each sequence, ``[rows, n, keep, vocab]``."""
        flat = [sequence for known in self._sequences for sequence in known]
        logits = torch.stack(self._backend.whole_logits(flat, [keep] * len(flat)))
        return logits.view(len(self._sequences), len(self._sequences[0]), keep, -1)


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


def _innermost(model: Any) -> Any:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _eos_ids(model: Any) -> tuple[int, ...]:
    """Ids that end a generation, as transformers' ``generate`` takes them."""
    generation_config = getattr(model, "generation_config", None)
    for source in (generation_config, model.config):
        ids = getattr(source, "eos_token_id", None)
        if ids is not None:
            return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
    return ()


def _cache_bytes_per_token(config: Any, element_size: int) -> int:
    """Keys and values of one token over all layers, in bytes."""
    layers = getattr(config, "num_hidden_layers", 1)
    heads = getattr(config, "num_attention_heads", 1)
    key_value_heads = getattr(config, "num_key_value_heads", None) or heads
    head_size = getattr(config, "head_dim", None) or getattr(config, "hidden_size", heads) // max(heads, 1)
    return int(2 * layers * key_value_heads * head_size * element_size)
