"""Prompts as they went into the model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Feed:
    """A prompt as it went into the model.

    Attributes:
        context: The text that the harness asked for.
        continuation: The text whose likelihood was asked for; None when the model generates.
        token_ids: Tokens of the context that the model read, special tokens included.
        continuation_ids: Tokens of the continuation; empty when the model generates.
        truncated_tokens: Tokens of the context that were cut off on the left and never read.
    """

    context: str
    continuation: str | None
    token_ids: tuple[int, ...]
    continuation_ids: tuple[int, ...] = ()
    truncated_tokens: int = 0
