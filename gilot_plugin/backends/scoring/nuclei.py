"""Nuclei: the few outcomes that hold most of a distribution's mass, found where the distributions are."""

from __future__ import annotations

from typing import NamedTuple

import torch

from gilot_plugin.backends.scoring.logprobs import accurate

#: Outcomes that are looked at first: most distributions of language models need fewer, and finding so few
#: takes a fifth of the time that a thousand take.
_FIRST = 64

#: Entries of distributions that are copied at once where more are looked at.
_BLOCK = 2**22


class Nuclei(NamedTuple):
    """Smallest sets of outcomes whose mass reaches a threshold.

    Attributes:
        outcomes: Likeliest first, ``[n, k]``; those beyond the size are others.
        logprobs: Their log-probabilities, ``[n, k]``.
        sizes: ``[n]``, at least 1.
    """

    outcomes: torch.Tensor
    logprobs: torch.Tensor
    sizes: torch.Tensor


def nuclei(logprobs: torch.Tensor, top_p: float, top_k: int) -> Nuclei:
    """Smallest sets of outcomes whose mass reaches ``top_p``, at most ``top_k`` of them.

    The outcome that makes the mass reach ``top_p`` belongs to the set. The host waits for the device once.

    Args:
        logprobs: ``[n, outcomes]``.
        top_p: Cumulative mass.
        top_k: Largest size.
    """
    count = min(top_k, logprobs.shape[1])
    values, outcomes = logprobs.topk(min(_FIRST, count), dim=1)
    if values.shape[1] < count:
        short = (_masses(values)[:, -1] < top_p).nonzero()[:, 0]
        if len(short):
            more = count - values.shape[1]
            values = torch.nn.functional.pad(values, (0, more), value=-torch.inf)
            outcomes = torch.nn.functional.pad(outcomes, (0, more))
            for rows in torch.split(short, max(1, _BLOCK // logprobs.shape[1])):
                values[rows], outcomes[rows] = logprobs[rows].topk(count, dim=1)
    sizes = ((_masses(values) < top_p).sum(1) + 1).clamp_(max=count)
    return Nuclei(outcomes, values, sizes)


def _masses(logprobs: torch.Tensor) -> torch.Tensor:
    """Cumulative masses."""
    return logprobs.to(accurate(logprobs.device)).exp().cumsum(1)


class SharedNuclei(NamedTuple):
    """The nuclei of the full prompt's distributions, which all supports at a step begin with.

    Attributes:
        outcomes: Ascending, ``[steps, m]``; 0 beyond the size.
        logprobs: Of the full prompt, ``[steps, m]``; minus infinity beyond the size.
        sizes: ``[steps]``.
        members: Which outcomes they hold, ``[steps, outcomes]``.
    """

    outcomes: torch.Tensor
    logprobs: torch.Tensor
    sizes: torch.Tensor
    members: torch.Tensor


def shared_nuclei(logprobs: torch.Tensor, top_p: float, top_k: int) -> SharedNuclei:
    """Those of the full prompt's distributions; the host waits for the device a constant number of times.

    Args:
        logprobs: ``[steps, outcomes]``.
        top_p: Cumulative mass of each.
        top_k: Largest size of each.
    """
    found = nuclei(logprobs, top_p, top_k)
    inside = _before(found.sizes, found.outcomes.shape[1])
    # The outcomes beyond a size are marked on a column that is cut off.
    members = torch.zeros(len(logprobs), logprobs.shape[1] + 1, dtype=torch.bool, device=logprobs.device)
    members.scatter_(1, found.outcomes.masked_fill(~inside, logprobs.shape[1]), True)
    outcomes = _ascending(found.outcomes, inside, logprobs.shape[1])[:, : int(found.sizes.max())]
    beyond = ~_before(found.sizes, outcomes.shape[1])
    outcomes = outcomes.masked_fill(beyond, 0)
    of_outcomes = logprobs.gather(1, outcomes).masked_fill_(beyond, -torch.inf)
    return SharedNuclei(outcomes, of_outcomes, found.sizes, members[:, :-1])


class AddedOutcomes(NamedTuple):
    """What distributions without units add to the nuclei of the full prompt's, and how likely all that is.

    Attributes:
        outcomes: Ascending, ``[rows, steps, w]``; 0 beyond the size.
        sizes: ``[rows, steps]``.
        present: Log-probability of the added outcomes with the units, ``[rows, steps, w]``.
        absent: The same without them.
        absent_shared: Log-probability of the full prompt's nuclei without the units, ``[rows, steps, m]``.
    """

    outcomes: torch.Tensor
    sizes: torch.Tensor
    present: torch.Tensor
    absent: torch.Tensor
    absent_shared: torch.Tensor


def added_outcomes(
    logprobs: torch.Tensor, reference: torch.Tensor, shared: SharedNuclei, top_p: float, top_k: int
) -> AddedOutcomes:
    """What the distributions of some rows add; the host waits for the device a constant number of times.

    Args:
        logprobs: Without units, ``[rows, steps, outcomes]``.
        reference: With all of them, ``[steps, outcomes]``.
        shared: The nuclei of the latter.
        top_p: Cumulative mass of each nucleus.
        top_k: Largest size of each nucleus.
    """
    rows, steps, count = logprobs.shape
    found = nuclei(logprobs.flatten(0, 1), top_p, top_k)
    outcomes = found.outcomes.view(rows, steps, -1)
    known = shared.members.expand(rows, -1, -1).gather(2, outcomes)
    new = _before(found.sizes.view(rows, steps), outcomes.shape[2]) & ~known
    sizes = new.sum(2)
    added = _ascending(outcomes, new, count)[:, :, : int(sizes.max())]
    added = added.masked_fill(~_before(sizes, added.shape[2]), 0)
    return AddedOutcomes(
        added,
        sizes,
        reference.expand(rows, -1, -1).gather(2, added),
        logprobs.gather(2, added),
        logprobs.gather(2, shared.outcomes.expand(rows, -1, -1)),
    )


def _before(sizes: torch.Tensor, count: int) -> torch.Tensor:
    """Which of so many places are before the size, ``[..., count]``."""
    return torch.arange(count, device=sizes.device) < sizes.unsqueeze(-1)


def _ascending(outcomes: torch.Tensor, chosen: torch.Tensor, count: int) -> torch.Tensor:
    """The chosen outcomes in ascending order; behind them, in place of the others, the count of all."""
    return outcomes.masked_fill(~chosen, count).sort(dim=-1).values
