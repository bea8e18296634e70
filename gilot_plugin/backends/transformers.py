"""Causal language models of the transformers library."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch

from gilot_plugin.backends._transformers.capabilities import found_once
from gilot_plugin.backends._transformers.contexts import ContextSession
from gilot_plugin.backends._transformers.embedding import InputEmbedding, OutputEmbedding
from gilot_plugin.backends._transformers.introspection import (
    attention_maps,
    embedded_logits,
    probe_attentions,
    probe_embeddings,
)
from gilot_plugin.backends._transformers.lengths import longest_sequence
from gilot_plugin.backends._transformers.memory import MemoryModel, free_memory, has_sinks
from gilot_plugin.backends._transformers.passes import Passes
from gilot_plugin.backends._transformers.probe import Reading, probe_positions, probe_reading
from gilot_plugin.backends._transformers.sessions import CachedSession, RecomputingSession
from gilot_plugin.backends._transformers.tree.beginnings import read_prompt, with_beginnings
from gilot_plugin.backends._transformers.tree.reader import TreeReader
from gilot_plugin.backends._transformers.tree.session import TreeSession
from gilot_plugin.backends._transformers.tree.shared import NOTHING, ReadPrompt
from gilot_plugin.backends.cache_use import CacheUse
from gilot_plugin.backends.protocol import Batch, DecodingSession, KnownPrompt, Load, Need, Row
from gilot_plugin.errors import UnsupportedModelError

_logger = logging.getLogger(__name__)


class TransformersBackend:
    """Runs a loaded ``PreTrainedModel`` (or a PEFT model around one) where it is, as it is.

    The model's weights, mode, configuration and generation settings are left alone. What its family can do is
    found out with a few tokens before the first use, see :mod:`gilot_plugin.backends._transformers.probe`.

    Args:
        model: The model.
        autocast_dtype: Run under autocast with this dtype, as lm-eval's ``mixed_precision_dtype`` does.
        trees: Whether what prompts have in common may be read once and continuations as trees; without, each
            prompt is read by itself, with a cache that is copied for each continuation.
        pass_tokens: Most tokens of a pass, where several passes do as well: a longer prompt is read in
            chunks. As suits the device by default.

    Raises:
        UnsupportedModelError: The model is not a decoder-only language model.
    """

    def __init__(
        self,
        model: Any,
        autocast_dtype: torch.dtype | None = None,
        *,
        trees: bool = True,
        pass_tokens: int | None = None,
    ) -> None:
        _check_decoder_only(model)
        text_config = model.config.get_text_config(decoder=True)
        self._model = model
        self._autocast_dtype = autocast_dtype
        self._reads_trees = trees
        self._pass_tokens = pass_tokens
        #: Why sequences were read whole that are longer than others, in words.
        self._whole_contexts: str | None = None
        self._embedding = InputEmbedding(model)
        self.device: torch.device = self._embedding.device
        self._passes = self._new_passes()
        self.eos_token_ids = _eos_ids(model)
        self.vocab_size: int = text_config.vocab_size
        self.max_positions: int | None = longest_sequence(text_config)
        self._memory = MemoryModel(
            text_config, self._passes.dtype, self.vocab_size, self.device, has_sinks(model)
        )

    @property
    def model(self) -> Any:
        """The model, for methods that look inside; to be left as it is."""
        return self._model

    @property
    def model_tokens(self) -> int:
        """Token positions fed so far, padding and the probe's few tokens excluded."""
        return self._passes.model_tokens

    @property
    def fill_tokens(self) -> int:
        """Tokens of a pass below which the device is not filled."""
        return self._passes.pass_size.least

    @property
    def pass_tokens(self) -> int:
        """Tokens of a pass beyond which only memory grows."""
        return self._passes.pass_size.most

    @property
    def half_precision(self) -> bool:
        """Whether its weights or its computation have fewer bits than those of single precision."""
        return torch.finfo(self._passes.dtype).eps > torch.finfo(torch.float32).eps

    @property
    def recomputes(self) -> str | None:
        """Why every sequence is read whole at every step, in words; None where a cache is kept.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        return self._reading.recomputes

    def recomputes_at(self, tokens: int) -> str | None:
        """See :meth:`gilot_plugin.backends.protocol.Backend.recomputes_at`.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        rotations = self._reading.rotations
        if rotations.change_at(tokens):
            return rotations.reason
        return self._reading.recomputes

    @property
    def cache_use(self) -> CacheUse:
        """Whether caches and prefix trees are used, why not, and what it has cost so far.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        reading, passes = self._reading, self._passes
        return CacheUse(
            reading.recomputes is None and self._whole_contexts is None,
            self._tree is not None and self._whole_contexts is None,
            reading.recomputes or self._whole_contexts or reading.no_trees,
            reading.errors,
            passes.model_tokens,
            passes.model_tokens - passes.avoidable_tokens,
            passes.logits_computed,
            passes.logits_wanted,
        )

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
        passes = self._probing()
        tree = None if self._tree is None else TreeReader(passes)

        def open_session(rows: Sequence[Row]) -> DecodingSession:
            return self._session(passes, tree, Batch(rows), room=1)

        def open_contexts(rows: Sequence[Row]) -> DecodingSession:
            return ContextSession(passes, rows)

        # Both ways to read are taken where the length decides.
        ways = [open_session] if passes.rotations.steady is None else [open_session, open_contexts]

        def find() -> str | None:
            found = (probe_positions(passes, way, self.vocab_size, self.max_positions) for way in ways)
            return next((reason for reason in found if reason is not None), None)

        return found_once(passes, ("positions", tree is None), find)

    @property
    def shares_prompts(self) -> bool:
        """See :attr:`gilot_plugin.backends.protocol.Backend.shares_prompts`.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        return self._tree is not None

    @property
    def no_trees(self) -> str | None:
        """Why prompts that begin alike are not read once, in words; None where they are.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        return self._reading.no_trees

    def read_prompt(self, row: Row) -> KnownPrompt:
        """Read a prompt but for its last token, if rows that begin like it can go on from there."""
        if self._tree is not None and not self._reading.rotations.change_at(row.next_position):
            return read_prompt(self._tree, row)
        # A tree session would read it once.
        self._passes.avoidable_tokens -= len(row.token_ids) - 1
        return ReadPrompt(row, {})

    def prefill(self, batch: Batch, room: int) -> DecodingSession:
        """See :meth:`gilot_plugin.backends.protocol.Backend.prefill`."""
        return self._session(self._passes, self._tree, batch, room)

    def embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the given ids, ``[n, dim]``, float32, without gradient."""
        return self._embedding(token_ids)

    @cached_property
    def mean_embedding(self) -> torch.Tensor:
        """See :attr:`gilot_plugin.backends.protocol.Backend.mean_embedding`."""
        return self._embedding.mean(self.vocab_size)

    def output_embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        """See :meth:`gilot_plugin.backends.protocol.Backend.output_embeddings`."""
        return self._output_embedding(token_ids).to(self.device)

    def memory(self, load: Load) -> Need:
        """See :meth:`gilot_plugin.backends.protocol.Backend.memory`."""
        whole = self._reading.rotations.change_at(load.known + load.own + load.room)
        if self._tree is None or whole:
            return self._memory.of_runs(load._replace(own=load.known + load.own, known=0) if whole else load)
        return self._memory.of_trees(load, self.pass_tokens)

    def free_memory(self) -> int:
        """Half of what the device has free, in bytes."""
        return free_memory(self.device)

    @cached_property
    def refuses_embeddings(self) -> str | None:
        """Why :meth:`embedded_logits` cannot be used, in words; None if it can.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        passes = self._probing()
        return found_once(
            passes, "embeddings", lambda: probe_embeddings(passes, self.embeddings, self.vocab_size)
        )

    @cached_property
    def refuses_attentions(self) -> str | None:
        """Why :meth:`attentions` cannot be used, in words; None if it can.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        passes = self._probing()
        return found_once(passes, "attentions", lambda: probe_attentions(passes, self.vocab_size))

    def embedded_logits(self, embeddings: torch.Tensor, keep: int) -> torch.Tensor:
        """See :func:`gilot_plugin.backends._transformers.introspection.embedded_logits`."""
        return embedded_logits(self._ready_passes, embeddings, keep)

    def attentions(self, token_ids: Sequence[int]) -> torch.Tensor:
        """See :func:`gilot_plugin.backends._transformers.introspection.attention_maps`."""
        return attention_maps(self._ready_passes, token_ids)

    def gradient_memory(self, tokens: int, predictions: int) -> Need:
        """Memory for rows of so many tokens whose last predictions are differentiated."""
        return self._memory.of_gradient(tokens, predictions)

    def attention_memory(self, tokens: int) -> Need:
        """Memory for :meth:`attentions` of so many tokens."""
        return self._memory.of_attentions(tokens)

    @property
    def _ready_passes(self) -> Passes:
        """The passes, with the inputs that the model was found to take."""
        _ = self._reading
        return self._passes

    def _probing(self) -> Passes:
        """Passes for a probe's own use, with those inputs."""
        passes = self._new_passes()
        passes.inputs, passes.rotations = self._reading.inputs, self._reading.rotations
        return passes

    def _new_passes(self) -> Passes:
        lock = self._embedding.lock if self._embedding.is_hooked else None
        return Passes(self._model, self.device, self._autocast_dtype, lock, self._pass_tokens)

    def _session(self, passes: Passes, tree: TreeReader | None, batch: Batch, room: int) -> DecodingSession:
        batch = Batch(batch.rows, batch.known or [NOTHING] * len(batch.rows))
        longest = max(row.next_position for row in batch.rows) + room
        whole = self._reading.rotations.change_at(longest)
        if tree is not None and not whole:
            # Of prompts that were too long to be read, nothing is kept.
            kept = [
                known if isinstance(known, ReadPrompt) and known.layers else NOTHING for known in batch.known
            ]
            return TreeSession(tree, Batch(batch.rows, with_beginnings(tree, batch.rows, kept)), room)
        own = sum(
            len(row.token_ids) - (0 if known.row is None else row.begins_like(known.row))
            for row, known in zip(batch.rows, batch.known, strict=True)
        )
        if whole:
            self._say_contexts(longest)
            return ContextSession(passes, batch.rows, own)
        return (CachedSession if self.recomputes is None else RecomputingSession)(passes, batch.rows, own)

    def _say_contexts(self, tokens: int) -> None:
        # Of models that are always read whole, that was said.
        if self._whole_contexts is None and self._reading.recomputes is None:
            self._whole_contexts = self.recomputes_at(tokens)
            name = type(self._model).__name__
            _logger.warning(
                "%s is read whole for every token, which is slower: %s", name, self._whole_contexts
            )

    @cached_property
    def _output_embedding(self) -> OutputEmbedding:
        # The check of what is read calls a module whose weights may come and go.
        with self._embedding.lock:
            return OutputEmbedding(self._model, self.vocab_size)

    @cached_property
    def _tree(self) -> TreeReader | None:
        """Reads trees, if the model can; tokens are counted with all others."""
        if not self._reads_trees or self._reading.no_trees is not None:
            return None
        return TreeReader(self._passes)

    @cached_property
    def _reading(self) -> Reading:
        passes = self._new_passes()
        reading = found_once(
            passes, "reading", lambda: probe_reading(passes, self.vocab_size, self.max_positions)
        )
        self._passes.inputs, self._passes.rotations = reading.inputs, reading.rotations
        if reading.recomputes is not None:
            _logger.warning(
                "%s is read whole at every step, which is slower: %s",
                type(self._model).__name__,
                reading.recomputes,
            )
        elif reading.no_trees is not None:
            _logger.warning("%s reads each prompt whole: %s", type(self._model).__name__, reading.no_trees)
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
