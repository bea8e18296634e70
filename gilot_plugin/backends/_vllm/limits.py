"""What an engine can do, and what it is not asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gilot_plugin.backends._vllm.engine import Llm
from gilot_plugin.backends._vllm.search import candidates
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Limits, Query
from gilot_plugin.backends.wanted import BeamSearch
from gilot_plugin.errors import UnsupportedModelError

#: Likeliest tokens that are asked for, for each that a nucleus may have: a token of the full prompt's nucleus
#: is to be told of without the unit, too, where it is less likely.
TOLD_PER_TOKEN = 2

#: Those that are asked for where no nucleus says how many.
DEFAULT_TOKENS = 2000

#: Why rows may not mask tokens.
REFUSES_POSITIONS = "vLLM reads every token of a prompt, each at its own place"


def limits_of(llm: Llm, eos_token_ids: Sequence[int]) -> Limits:
    """What an engine can do.

    Raises:
        UnsupportedModelError: It tells something else than log-probabilities of the model.
    """
    config: Any = llm.llm_engine.model_config
    if config.logprobs_mode != "raw_logprobs":
        raise UnsupportedModelError(
            f"logprobs_mode={config.logprobs_mode!r}: the engine does not tell what the model says; leave "
            "this argument of the model out"
        )
    vocab_size, most = int(config.get_vocab_size()), int(config.max_logprobs)
    return Limits(
        vocab_size=vocab_size,
        eos_token_ids=tuple(eos_token_ids),
        # One place is kept for a token that it has to generate, and one for the last token of an answer,
        # which is fed to have its probability told.
        max_positions=int(config.max_model_len) - 2,
        nucleus_size=vocab_size if most < 0 else min(most, vocab_size),
        whole_vocabulary=False,
        half_precision=str(config.dtype) in ("torch.float16", "torch.bfloat16"),
        fill_tokens=int(llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens),
    )


def refuse(queries: Sequence[Query], limits: Limits) -> None:
    """Refuse what cannot be asked of an engine, before anything is read.

    Raises:
        UnsupportedModelError: Rows mask tokens, or more tokens have to be told than it tells.
    """
    for query in queries:
        rows = [*query.rows, *query.rescored, *([query.full] if isinstance(query.full, Row) else [])]
        if any(row.positions is not None or row.attended is not None for row in rows):
            raise UnsupportedModelError(f"tokens cannot be masked: {REFUSES_POSITIONS}")
        if not isinstance(query.after, BeamSearch):
            continue
        if query.after.published or query.rescored:
            raise UnsupportedModelError(f"preset='reference' masks tokens: {REFUSES_POSITIONS}")
        needed = candidates(query.after.beams, len(limits.eos_token_ids))
        if limits.nucleus_size is not None and needed > limits.nucleus_size:
            raise UnsupportedModelError(
                f"num_beams={query.after.beams} needs the {needed} likeliest tokens, and the engine tells "
                f"{limits.nucleus_size}: add max_logprobs={max(needed, DEFAULT_TOKENS)} to --model_args"
            )
