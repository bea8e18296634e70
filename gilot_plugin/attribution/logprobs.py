"""From logits to log-probabilities that can be trusted."""

from __future__ import annotations

import torch

from gilot_plugin.errors import NonFiniteLogitsError

#: Stands for the log-probability of what cannot be where a number must be finite; no continuation that a
#: model can give has one as low.
IMPOSSIBLE = -1e6


def finite_log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log-softmax over the last dimension that refuses NaN and rows without any finite logit."""
    logprobs = logits.float().log_softmax(dim=-1)
    if bool(logprobs.isnan().any()):
        raise NonFiniteLogitsError(
            "the model returned NaN or only infinite logits; half precision that overflows is a common cause "
            "(try dtype=float32 or bfloat16)"
        )
    return logprobs
