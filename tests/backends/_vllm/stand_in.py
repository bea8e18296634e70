"""A stand-in for ``vllm.LLM`` around a model of transformers, with the engine's prefix cache and its trap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

#: What rows of cached tokens hold in place of log-probabilities.
GARBAGE = 1e-43


class SamplingParams(SimpleNamespace):
    """Arguments with the engine's defaults."""

    def __init__(self, **given: Any) -> None:
        defaults = {
            "temperature": 1.0,
            "max_tokens": 16,
            "prompt_logprobs": None,
            "logprobs": None,
            "flat_logprobs": False,
            "detokenize": True,
            "skip_reading_prefix_cache": None,
            "stop": [],
            "skip_special_tokens": True,
        }
        super().__init__(**{**defaults, **given})


@dataclass
class FlatLogprobs:
    start_indices: list[int] = field(default_factory=list)
    end_indices: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def add(self, token_ids: list[int], logprobs: list[float]) -> None:
        self.start_indices.append(len(self.token_ids))
        self.token_ids += token_ids
        self.logprobs += logprobs
        self.end_indices.append(len(self.token_ids))

    def dictionaries(self) -> list[dict[int, float] | None]:
        parts = [slice(*ends) for ends in zip(self.start_indices, self.end_indices, strict=True)]
        return [
            dict(zip(self.token_ids[part], self.logprobs[part], strict=True)) if place else None
            for place, part in enumerate(parts)
        ]


class StandInLlm:
    """Says of each prompt what the engine says, and keeps account of what it read.

    A prompt's whole blocks are cached once it was read. The last token is always read.
    """

    def __init__(
        self,
        model: Any,
        /,
        *,
        max_logprobs: int = 20,
        block_size: int = 4,
        caching: bool = True,
        tokenizer: Any = None,
        **config: Any,
    ) -> None:
        self._model, self._block_size, self._caching = model, block_size, caching
        self._tokenizer = tokenizer
        self._blocks: set[tuple[int, ...]] = set()
        self.calls: list[list[tuple[tuple[int, ...], SamplingParams]]] = []
        self.lora_requests: list[Any] = []
        self.read_tokens = 0
        sizes = {
            "max_logprobs": max_logprobs,
            "logprobs_mode": "raw_logprobs",
            "max_model_len": model.config.max_position_embeddings,
            "dtype": torch.float32,
            "get_vocab_size": lambda: model.config.vocab_size,
        }
        self.llm_engine = SimpleNamespace(
            model_config=SimpleNamespace(**{**sizes, **config}),
            vllm_config=SimpleNamespace(
                scheduler_config=SimpleNamespace(max_num_batched_tokens=4096),
                cache_config=SimpleNamespace(enable_prefix_caching=caching),
            ),
        )

    def generate(self, prompts, sampling_params, *, use_tqdm=True, lora_request=None):
        ids = [tuple(prompt["prompt_token_ids"]) for prompt in prompts]
        self.calls.append(list(zip(ids, sampling_params, strict=True)))
        self.lora_requests.append(lora_request)
        return [self._answer(*one) for one in self.calls[-1]]

    def _answer(self, ids: tuple[int, ...], params: SamplingParams) -> SimpleNamespace:
        config = self.llm_engine.model_config
        assert params.temperature == 0, "nothing else is the same twice"
        if len(ids) + params.max_tokens > config.max_model_len:
            raise ValueError(f"{len(ids)} tokens and {params.max_tokens} more are too many")
        for wanted in (params.logprobs, params.prompt_logprobs):
            if (wanted or 0) > config.max_logprobs:
                raise ValueError(f"{wanted} logprobs are more than {config.max_logprobs}")
        skips = params.skip_reading_prefix_cache
        if skips is None:
            skips = params.prompt_logprobs is not None
        cached = 0 if skips or not self._caching else self._cached(ids)
        self.read_tokens += len(ids) - cached
        logprobs = self._logprobs(ids)
        self._blocks |= {ids[:end] for end in range(self._block_size, len(ids) + 1, self._block_size)}
        generated, text = self._generated(ids, params)
        following = None
        if params.logprobs is not None:
            following = FlatLogprobs()
            following.add(*_row(logprobs[-1], generated[0], params.logprobs))
        rows = self._prompt_logprobs(ids, logprobs, cached, params.prompt_logprobs)
        return SimpleNamespace(
            prompt_token_ids=list(ids),
            num_cached_tokens=cached,
            prompt_logprobs=rows if rows is None or params.flat_logprobs else rows.dictionaries(),
            outputs=[SimpleNamespace(token_ids=generated, logprobs=following, text=text)],
        )

    def _logprobs(self, ids: Sequence[int]) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = self._model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
        return found

    def _generated(self, ids: tuple[int, ...], params: SamplingParams) -> tuple[list[int], str]:
        """Greedily, until the sequence ends or says what stops it; the latter is no part of the text."""
        tokens: list[int] = []
        text = ""
        while len(tokens) < params.max_tokens:
            tokens.append(int(self._logprobs((*ids, *tokens))[-1].argmax()))
            if self._tokenizer is not None and params.detokenize:
                text = self._tokenizer.decode(tokens, skip_special_tokens=params.skip_special_tokens)
            if tokens[-1] == self._model.config.eos_token_id:
                break
            stops = [text.index(stop) for stop in params.stop if stop in text]
            if stops:
                return tokens, text[: min(stops)]
        return tokens, text

    def _cached(self, ids: tuple[int, ...]) -> int:
        end = 0
        while end + self._block_size < len(ids) and ids[: end + self._block_size] in self._blocks:
            end += self._block_size
        return end

    @staticmethod
    def _prompt_logprobs(ids, logprobs, cached, count):
        if count is None:
            return None
        rows = FlatLogprobs()
        rows.add([], [])
        for place in range(1, len(ids)):
            if place <= cached:  # what the cached tokens predict was computed by nobody
                rows.add([ids[place], *range(count)], [GARBAGE] * (count + 1))
            else:
                rows.add(*_row(logprobs[place - 1], ids[place], count))
        return rows


def _row(logprobs: torch.Tensor, own: int, count: int) -> tuple[list[int], list[float]]:
    likeliest = logprobs.topk(count)
    return [own, *likeliest.indices.tolist()], [float(logprobs[own]), *likeliest.values.tolist()]
