"""From logits to log-probabilities that can be trusted."""

from __future__ import annotations

import torch

from gilot_plugin.errors import NonFiniteLogitsError

#: Stands for the log-probability of what cannot be where a number must be finite; no continuation that a
#: model can give has one as low.
IMPOSSIBLE = -1e6

#: Entries of distributions that are copied at once.
_AT_ONCE = 2**22


def accurate(device: torch.device) -> torch.dtype:
    """What sums over a vocabulary are computed in: float64, which Apple's devices do not have."""
    return torch.float32 if device.type == "mps" else torch.float64


def finite_log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log-softmax over the last dimension that refuses NaN and rows without any finite logit."""
    logprobs = logits.float().log_softmax(dim=-1)
    if bool(logprobs.isnan().any()):
        raise NonFiniteLogitsError(
            "the model returned NaN or only infinite logits; half precision that overflows is a common cause "
            "(try dtype=float32 or bfloat16)"
        )
    return logprobs


def log_odds(logprobs: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Log-odds of one outcome of each distribution against all others together, ``[n]``, in nats.

    The others are summed by themselves, in double precision where the device has it: of an outcome that is
    all but certain, one less its probability would be round-off.

    Args:
        logprobs: ``[n, outcomes]``.
        chosen: ``[n]``, an outcome of each.
    """
    found = [logprobs.new_zeros(0, dtype=accurate(logprobs.device))]
    at_once = max(1, _AT_ONCE // logprobs.shape[1])
    for some, of_some in zip(torch.split(logprobs, at_once), torch.split(chosen, at_once), strict=True):
        wide, column = some.to(found[0].dtype), of_some.unsqueeze(1)
        others = wide.scatter(1, column, -torch.inf).logsumexp(1).clamp(min=IMPOSSIBLE)
        found.append(wide.gather(1, column)[:, 0].clamp(min=IMPOSSIBLE) - others)
    return torch.cat(found)


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum over the last dimension; what float32 rounds off is summed beside it, in pairs (two-sum)."""
    if values.dtype == torch.float64:
        return values.sum(-1)
    lost = torch.zeros_like(values)
    while values.shape[-1] > 1:
        if values.shape[-1] % 2:
            values, lost = (torch.nn.functional.pad(part, (0, 1)) for part in (values, lost))
        (one, other), (lost_one, lost_other) = (part.tensor_split(2, dim=-1) for part in (values, lost))
        values = one + other
        back = values - one
        lost = lost_one + lost_other + ((one - (values - back)) + (other - back))
    return (values + lost)[..., 0]


def entropy(logprobs: torch.Tensor) -> torch.Tensor:
    """Entropy over all outcomes, in nats, ``[...]`` of ``[..., outcomes]``."""
    return -total(logprobs.exp().mul_(logprobs.clamp(min=IMPOSSIBLE)))
