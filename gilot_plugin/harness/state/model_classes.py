"""lm-eval's model classes, as far as they differ in what is asked of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def is_engine(lm: Any) -> bool:
    """Whether the model object is of lm-eval's class ``vllm``, whose own package need not be installed."""
    return any(
        (made_of.__module__, made_of.__name__) == ("lm_eval.models.vllm_causallms", "VLLM")
        for made_of in type(lm).__mro__
    )


def encode(lm: Any, text: str) -> list[int]:
    """Tokens of a prompt, as they are before anything is cut off."""
    found: list[int] = lm.tok_encode(text) if is_engine(lm) else lm.tok_batch_encode([text])[0][0]
    return found


def decode_answer(lm: Any, token_ids: Sequence[int]) -> str:
    """Text of generated tokens, as the model object makes it."""
    if is_engine(lm):
        return str(lm.tokenizer.decode(token_ids, skip_special_tokens=False))
    return str(lm.tok_decode(token_ids))
