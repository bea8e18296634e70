"""vLLM's engine, as lm-eval makes it, and the model as attributions use it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from gilot_plugin.backends._vllm.embeddings import CheckpointEmbeddings
from gilot_plugin.backends._vllm.limits import DEFAULT_TOKENS, TOLD_PER_TOKEN
from gilot_plugin.backends.vllm import VllmScorer
from gilot_plugin.errors import UnsupportedModelError

_LOGGER = logging.getLogger(__name__)

#: Name of lm-eval's model class, and where it looks the engine up.
_CLASS, _MODULE = "vllm", "lm_eval.models.vllm_causallms"


@contextmanager
def telling_engines(model: Any, given: Mapping[str, Any]) -> Iterator[None]:
    """Have engines that lm-eval makes inside the block tell as many tokens as attributions ask for.

    The limit, 20 by default, bounds what may be asked for and nothing that is computed. One that the user
    gave stays.

    Args:
        model: lm-eval's name of the model class.
        given: Settings given for the run.
    """
    if not isinstance(model, str) or model != _CLASS:
        yield
        return
    try:
        module: Any = import_module(_MODULE)
    except ImportError:  # lm-eval is about to say what is missing
        yield
        return
    made_by = module.LLM
    module.LLM = partial(
        made_by, max_logprobs=max(DEFAULT_TOKENS, TOLD_PER_TOKEN * int(given.get("top_k") or 0))
    )
    try:
        yield
    finally:
        module.LLM = made_by


def engine_scorer(lm: Any) -> VllmScorer:
    """The runtime around the engine of lm-eval's model object.

    Raises:
        UnsupportedModelError: It has none in this process, or its token embeddings cannot be read.
    """
    if getattr(lm, "model", None) is None:
        raise UnsupportedModelError(
            f"with data_parallel_size={lm.data_parallel_size} lm-eval starts engines anew for every call and "
            "stops them again, so that none is left to ask: evaluate with --log_samples, and have "
            "`gilot explain` explain the samples afterwards (tensor_parallel_size and pipeline_parallel_size "
            "work)"
        )
    config = lm.model.llm_engine.model_config
    adapter = None if lm.lora_request is None else str(lm.lora_request.lora_path)
    embeddings = CheckpointEmbeddings(
        str(config.model), config.revision, trust_remote_code=bool(config.trust_remote_code), adapter=adapter
    )
    scorer = VllmScorer(lm.model, embeddings, _eos_ids(config), lm.lora_request)
    most = scorer.limits.nucleus_size
    if most is not None and most < min(DEFAULT_TOKENS, scorer.limits.vocab_size):
        _LOGGER.warning(
            "the engine tells of the %d likeliest tokens only, so that bounds will be wide: add "
            "max_logprobs=%d to --model_args",
            most,
            DEFAULT_TOKENS,
        )
    return scorer


def _eos_ids(config: Any) -> tuple[int, ...]:
    """Ids that end a generation, as transformers' ``generate`` takes them."""
    for source in (config.try_get_generation_config(), config.hf_config.to_dict()):
        ids = source.get("eos_token_id")
        if ids is not None:
            return tuple(ids) if isinstance(ids, (list, tuple)) else (int(ids),)
    return ()
