"""Causal language models of the transformers library."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from weakref import finalize

import torch

from gilot_plugin.backends._transformers.capabilities import found_once
from gilot_plugin.backends._transformers.contexts import ContextSession
from gilot_plugin.backends._transformers.embedding import Embeddings
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
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Limits
from gilot_plugin.backends.scoring.scorer import SessionScorer
from gilot_plugin.backends.scoring.sessions import DecodingSession, Load, Need
from gilot_plugin.errors import UnsupportedModelError

_logger = logging.getLogger(__name__)


class TransformersBackend(SessionScorer):
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
        #: What was read of full prompts, for as long as these objects live. Equal ones are read again: what
        #: is spent on a prompt must not depend on who was there before.
        self._prompts: dict[int, ReadPrompt] = {}
        self.embeddings = Embeddings(model, text_config.vocab_size)
        self.device = self.embeddings.device
        self._passes = self._new_passes()
        dtype = self._passes.dtype
        self.limits = Limits(
            text_config.vocab_size,
            _eos_ids(model),
            longest_sequence(text_config),
            half_precision=torch.finfo(dtype).eps > torch.finfo(torch.float32).eps,
            fill_tokens=self._passes.pass_size.least,
        )
        self._memory = MemoryModel(text_config, dtype, self.limits.vocab_size, self.device, has_sinks(model))

    @property
    def model(self) -> Any:
        """The model, for methods that look inside; to be left as it is."""
        return self._model

    @property
    def model_tokens(self) -> int:
        """Token positions fed so far, padding and the probe's few tokens excluded."""
        return self._passes.model_tokens

    @property
    def pass_tokens(self) -> int:
        """Tokens of a pass beyond which only memory grows."""
        return self._passes.pass_size.most

    @property
    def recomputes(self) -> str | None:
        """Why every sequence is read whole at every step, in words; None where a cache is kept.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        return self._reading.recomputes

    def recomputes_at(self, tokens: int) -> str | None:
        """See :meth:`gilot_plugin.backends.scorer.Scorer.recomputes_at`.

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
            return self._session(passes, tree, rows, 1, [NOTHING] * len(rows))

        def open_contexts(rows: Sequence[Row]) -> DecodingSession:
            return ContextSession(passes, rows)

        # Both ways to read are taken where the length decides.
        ways = [open_session] if passes.rotations.steady is None else [open_session, open_contexts]

        def find() -> str | None:
            found = (
                probe_positions(passes, way, self.limits.vocab_size, self.limits.max_positions)
                for way in ways
            )
            return next((reason for reason in found if reason is not None), None)

        return found_once(passes, ("positions", tree is None), find)

    @property
    def reads_trees(self) -> bool:
        """See :class:`gilot_plugin.backends.scoring.sessions.SessionRuntime`.

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

    def prefill(
        self, rows: Sequence[Row], room: int, beside: Sequence[Row | None] | None = None
    ) -> DecodingSession:
        """See :class:`gilot_plugin.backends.scoring.sessions.SessionRuntime`; by default, of no prompt."""
        known = [NOTHING if row is None else self._known(row) for row in beside or [None] * len(rows)]
        return self._session(self._passes, self._tree, rows, room, known)

    def memory(self, load: Load) -> Need:
        """See :class:`gilot_plugin.backends.scoring.sessions.SessionRuntime`."""
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
            passes,
            "embeddings",
            lambda: probe_embeddings(passes, self.embeddings.input, self.limits.vocab_size),
        )

    @cached_property
    def refuses_attentions(self) -> str | None:
        """Why :meth:`attentions` cannot be used, in words; None if it can.

        Raises:
            torch.OutOfMemoryError: There is no memory even for a few tokens.
        """
        passes = self._probing()
        return found_once(passes, "attentions", lambda: probe_attentions(passes, self.limits.vocab_size))

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
        lock = self.embeddings.lock if self.embeddings.is_hooked else None
        return Passes(self._model, self.device, self._autocast_dtype, lock, self._pass_tokens)

    def _known(self, row: Row) -> ReadPrompt:
        """A full prompt, read but for its last token if rows that begin like it can go on from there."""
        if id(row) not in self._prompts:
            # What is kept must not keep the prompt alive.
            copy = replace(row)
            if self._tree is not None and not self._reading.rotations.change_at(row.next_position):
                self._prompts[id(row)] = read_prompt(self._tree, copy)
            else:
                # A tree session would read it once.
                self._passes.avoidable_tokens -= len(row.token_ids) - 1
                self._prompts[id(row)] = ReadPrompt(copy, {})
            finalize(row, self._prompts.pop, id(row), None)
        return self._prompts[id(row)]

    def _session(
        self,
        passes: Passes,
        tree: TreeReader | None,
        rows: Sequence[Row],
        room: int,
        known: Sequence[ReadPrompt],
    ) -> DecodingSession:
        longest = max(row.next_position for row in rows) + room
        whole = self._reading.rotations.change_at(longest)
        if tree is not None and not whole:
            # Of prompts that were too long to be read, nothing is kept.
            kept = [one if one.layers else NOTHING for one in known]
            return TreeSession(tree, rows, with_beginnings(tree, rows, kept), room)
        own = sum(
            len(row.token_ids) - (0 if one.row is None else row.begins_like(one.row))
            for row, one in zip(rows, known, strict=True)
        )
        if whole:
            self._say_contexts(longest)
            return ContextSession(passes, rows, own)
        return (CachedSession if self.recomputes is None else RecomputingSession)(passes, rows, own)

    def _say_contexts(self, tokens: int) -> None:
        # Of models that are always read whole, that was said.
        if self._whole_contexts is None and self._reading.recomputes is None:
            self._whole_contexts = self.recomputes_at(tokens)
            name = type(self._model).__name__
            _logger.warning(
                "%s is read whole for every token, which is slower: %s", name, self._whole_contexts
            )

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
            passes,
            "reading",
            lambda: probe_reading(passes, self.limits.vocab_size, self.limits.max_positions),
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
