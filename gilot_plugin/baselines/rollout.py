"""Attention rollout (Abnar and Zuidema 2020, section 3): attention followed down to the prompt's tokens."""

from __future__ import annotations

import torch

from gilot_plugin.attribution.methods import MethodContext
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.baselines.models import transformers_backend
from gilot_plugin.errors import BudgetError, UnsupportedModelError


def refuses_rollout(backend: Scorer) -> str | None:
    """Why a model's attention cannot be followed, in words; None if it can."""
    opened = transformers_backend(backend)
    if opened is None:
        return "attention is read of models of transformers in this process only"
    return opened.refuses_attentions


def attention_rollout(context: MethodContext) -> list[float]:
    """Share of each unit in what the tokens of the answer are predicted from.

    The mean over the tokens from which the answer is predicted; what they owe to the answer itself is left
    out. Of several choices, the answer is the one that the model prefers.

    Raises:
        UnsupportedModelError: The model has no attention, or does not return it.
        BudgetError: Attention between all tokens needs more memory than may be used.
    """
    backend, why = transformers_backend(context.backend), refuses_rollout(context.backend)
    if backend is None or why is not None:
        raise UnsupportedModelError(f"attention cannot be followed: {why}")
    answer = context.game.answer
    length = len(context.prompt.tokens)
    token_ids = (*context.prompt.token_ids, *answer.token_ids[:-1])
    needed, free = backend.attention_memory(len(token_ids)).of(1), backend.free_memory()
    if needed > free:
        raise BudgetError(
            f"attention between {len(token_ids)} tokens needs about {needed >> 20} MiB, {free >> 20} MiB may "
            "be used: leave attention_rollout out"
        )
    leads = answer.candidates.leads
    first = length - 1 + (len(leads[answer.chosen]) if leads else 0)
    shares = rolled_out(backend.attentions(token_ids), min(first, len(token_ids) - 1))[:length].tolist()
    return [sum(shares[unit.start_token : unit.end_token]) for unit in context.units]


def rolled_out(attention: torch.Tensor, first: int) -> torch.Tensor:
    """What the last tokens owe to each token.

    Args:
        attention: ``[layers, tokens, tokens]``, averaged over heads.
        first: The first of the last tokens.

    Returns:
        ``[tokens]``, float64, the mean over the last tokens. Adds up to 1.
    """
    tokens = attention.shape[1]
    # From the top, for these rows alone: the product of whole matrices would be much more work.
    owed = torch.eye(tokens, dtype=torch.float64)[first:]
    for layer in reversed(attention.double().cpu().unbind()):
        owed = 0.5 * owed @ layer + 0.5 * owed
    return owed.mean(dim=0)
