"""Whether a model's earlier work is used again, and how much it reads where it is not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CacheUse:
    """How the passes of a model use what it has read already.

    Attributes:
        key_value_cache: Whether sequences continue from a cache; without, each is read whole at every step.
        prefix_trees: Whether what prompts have in common is read once, and continuations as trees.
        reason: Why one of them is not used, in words; None where both are.
        errors: What was raised while the model was tried; each is a defect, of the model or of the package.
        tokens_read: Token positions fed so far.
        tokens_with_trees: What it would have read for the same with prefix trees, up to padding of trees.
        logits_computed: Tokens whose logits were computed where trees were not used.
        logits_wanted: Those of them whose logits were wanted; fewer where the model cannot be asked for them.
    """

    key_value_cache: bool
    prefix_trees: bool
    reason: str | None
    errors: tuple[str, ...]
    tokens_read: int
    tokens_with_trees: int
    logits_computed: int = 0
    logits_wanted: int = 0
