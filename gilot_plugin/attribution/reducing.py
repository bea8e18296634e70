"""From outcome distributions on the device to the few numbers that leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gilot_plugin.attribution.distance.support import (
    AddedOutcomes,
    SharedNuclei,
    Support,
    added_outcomes,
    shared_nuclei,
)
from gilot_plugin.attribution.distances import entropy
from gilot_plugin.attribution.logprobs import IMPOSSIBLE, accurate, logprob_of_odds
from gilot_plugin.attribution.methods import Distance
from gilot_plugin.attribution.prediction.targets import Outcomes
from gilot_plugin.attribution.transfer import HostCopy

FloatArray = NDArray[np.float64]

#: Copies of a prompt's distributions alive at once where they are made.
_OUTCOME_COPIES = 3

#: Bytes that are made of each outcome of a nucleus until it is on the host.
_SUPPORT_BYTES = 128


class Nucleus(NamedTuple):
    """How much of a distribution takes part in transport.

    Attributes:
        top_p: Cumulative mass.
        top_k: Outcomes at most.
    """

    top_p: float
    top_k: int


@dataclass(frozen=True, eq=False)
class Reference:
    """The full prompt's outcomes, kept where they were computed.

    Attributes:
        logprobs: log P(v | x), ``[steps, outcomes]``.
        answer_logprobs: Of each token of the model's own answer, in nats, ``[positions]``; NaN if nobody
            asked for it.
        answer_logodds: Their log-odds, in nats, ``[positions]``; None if nobody asked for them.
        shared: What takes part in transport; None if nothing does.
    """

    logprobs: torch.Tensor
    answer_logprobs: torch.Tensor
    answer_logodds: torch.Tensor | None
    shared: SharedNuclei | None

    @classmethod
    def of(cls, outcomes: Outcomes, nucleus: Nucleus | None) -> Reference:
        """That of the first row, which is copied: batches go, and it stays."""
        logprobs = outcomes.logprobs[0].clone()
        shared = None if nucleus is None else shared_nuclei(logprobs, *nucleus)
        odds = outcomes.answer_logodds
        return cls(logprobs, _answers(outcomes)[0].clone(), None if odds is None else odds[0].clone(), shared)

    def within(self, nucleus: Nucleus | None) -> Reference:
        """The same with what takes part in transport, where it is asked for and lacking."""
        if nucleus is None or self.shared is not None:
            return self
        return replace(self, shared=shared_nuclei(self.logprobs, *nucleus))

    @property
    def answer_logprob(self) -> torch.Tensor:
        """Log-probability of the model's own answer, in nats, a scalar; NaN if nobody asked for it."""
        return self.answer_logprobs.sum()

    @property
    def entropy(self) -> float:
        """Entropy of the outcomes, in nats, averaged over steps."""
        return float(entropy(self.logprobs.to(accurate(self.logprobs.device))).mean())

    @cached_property
    def nuclei(self) -> tuple[tuple[NDArray[np.int64], FloatArray], ...]:
        """For each step the outcomes of its nucleus, ascending, and their probabilities, on the host."""
        assert self.shared is not None  # asked for where something is transported
        copied = HostCopy([self.shared.outcomes, self.shared.logprobs, self.shared.sizes])
        outcomes, logprobs, sizes = copied.arrays()
        masses = np.exp(logprobs.astype(np.float64))
        return tuple(
            (row[:size], mass[:size]) for row, mass, size in zip(outcomes, masses, sizes, strict=True)
        )


class _Added(NamedTuple):
    """See :class:`gilot_plugin.attribution.distance.support.AddedOutcomes`; on the host."""

    outcomes: NDArray[np.int64]
    sizes: NDArray[np.int64]
    present: NDArray[np.floating[Any]]
    absent: NDArray[np.floating[Any]]
    absent_shared: NDArray[np.floating[Any]]


class Reduced(NamedTuple):
    """What leaves the device of some rows, on the host.

    Attributes:
        numbers: Of each distance, ``[distances, rows, steps]``.
        answer_drops: By how much the log-probability of the answer's tokens fell, in nats, ``[rows,
            positions]``.
        odds_drops: The same of their log-odds; nothing, ``[rows, 0]``, if nobody asked for them.
        directions: Sign of the change in log-odds of what was said at each step, ``[rows, steps]``: 1 where
            they fell. Nothing, ``[rows, 0]``, if nobody asked for them.
        added: For transport; arrays in place of tensors. None without.
    """

    numbers: FloatArray
    answer_drops: FloatArray
    odds_drops: FloatArray
    directions: FloatArray
    added: _Added | None

    def supports(self, reference: Reference, row: int) -> Iterator[Support]:
        """The outcomes that take part in the transport problems of a row, step by step."""
        assert self.added is not None  # asked for where something is transported
        outcomes, sizes = self.added.outcomes[row], self.added.sizes[row]
        present, absent, absent_shared = (
            np.exp(part[row].astype(np.float64))
            for part in (self.added.present, self.added.absent, self.added.absent_shared)
        )
        for step, (shared, masses) in enumerate(reference.nuclei):
            size, count = int(sizes[step]), len(shared)
            yield Support.of(
                np.concatenate((shared, outcomes[step, :size])),
                count,
                np.concatenate((masses, present[step, :size])),
                np.concatenate((absent_shared[step, :count], absent[step, :size])),
            )


def block_size(device: torch.device) -> int:
    """Entries of distributions that are worked on at once: what a core's cache holds, or fills a device."""
    return 2**18 if device.type == "cpu" else 2**23


def reduced_bytes(
    outcome_count: int, outcome_bytes: int, nucleus: Nucleus | None, device: torch.device
) -> int:
    """Memory that the outcomes of one prompt take until they are compared, in bytes.

    Args:
        outcome_count: Outcomes of a distribution.
        outcome_bytes: Memory of the prompt's distributions.
        nucleus: What takes part in transport; None without.
        device: Where they are.
    """
    if nucleus is None:
        return _OUTCOME_COPIES * outcome_bytes
    steps = max(1, outcome_bytes // (4 * outcome_count))
    return _OUTCOME_COPIES * outcome_bytes + steps * _SUPPORT_BYTES * min(nucleus.top_k, outcome_count)


class Reduction(NamedTuple):
    """What is left of the outcomes of some rows, where they were computed.

    Attributes:
        numbers: See :class:`Reduced`.
        answer_drops: See :class:`Reduced`.
        odds_drops: See :class:`Reduced`.
        directions: See :class:`Reduced`.
        added: For transport; None without.
    """

    numbers: torch.Tensor
    answer_drops: torch.Tensor
    odds_drops: torch.Tensor
    directions: torch.Tensor
    added: AddedOutcomes | None


def reduce(
    outcomes: Outcomes, reference: Reference, distances: Sequence[Distance], nucleus: Nucleus | None
) -> Reduction:
    """Compare outcomes with the full prompt's, where they are; the host waits a constant number of times.

    Args:
        outcomes: Of prompts without units.
        reference: Of the full prompt.
        distances: What is computed of whole distributions.
        nucleus: For transport; None without.

    Raises:
        ValueError: A distance gave something of another shape.
    """
    logprobs, drops = outcomes.logprobs, reference.answer_logprobs - _answers(outcomes)
    rows, steps, _ = logprobs.shape
    odds = _odds_changes(outcomes, reference)
    numbers = drops.new_zeros(len(distances), rows, steps, dtype=accurate(logprobs.device))
    for block in _blocks(logprobs) if distances else ():
        _, of_steps = block
        present = reference.logprobs[of_steps].to(numbers.dtype)
        absent = logprobs[block].to(numbers.dtype)
        for number, distance in zip(numbers, distances, strict=True):
            found = distance.compute(present, absent)
            if found.shape != absent.shape[:2]:
                raise ValueError(
                    f"method {distance.name!r} gave numbers of the shape {list(found.shape)}: wanted is one "
                    f"for each row and step, {list(absent.shape[:2])}"
                )
            number[block] = found.to(number)
    if nucleus is None or not rows:
        return Reduction(numbers, drops, *odds, None)
    assert reference.shared is not None  # made with the same nucleus
    added = added_outcomes(logprobs, reference.logprobs, reference.shared, *nucleus)
    return Reduction(numbers, drops, *odds, added)


def to_host(reductions: Sequence[Reduction]) -> list[Callable[[], Reduced]]:
    """Bring reductions to the host, in one transfer.

    Returns:
        For each of them, what waits for it.
    """
    tensors = [(*one[:-1], *(one.added or ())) for one in reductions]
    copied = HostCopy([tensor for some in tensors for tensor in some])
    ends = list(accumulate(map(len, tensors)))

    def arrived(start: int, end: int) -> Reduced:
        numbers, drops, odds, directions, *added = copied.arrays()[start:end]
        wide = [part.astype(np.float64, copy=False) for part in (numbers, drops, odds, directions)]
        return Reduced(wide[0], wide[1], wide[2], wide[3], _Added(*added) if added else None)

    return [partial(arrived, start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _answers(outcomes: Outcomes) -> torch.Tensor:
    """Log-probabilities of the answer's tokens, ``[rows, positions]``; NaN if nobody asked."""
    if outcomes.answer_logprobs is None:
        return outcomes.logprobs.new_full((len(outcomes.logprobs), 1), torch.nan)
    return outcomes.answer_logprobs.clamp(min=IMPOSSIBLE)


def _odds_changes(outcomes: Outcomes, reference: Reference) -> tuple[torch.Tensor, torch.Tensor]:
    """By how much log-odds fell, ``[rows, positions]``, and the direction at each step, ``[rows, steps]``.

    Where steps are positions of the answer, each has its own direction. What comes after the answer, and what
    is compared only after all of it, has that of the answer as a whole.
    """
    rows, steps, _ = outcomes.logprobs.shape
    if reference.answer_logodds is None or outcomes.answer_logodds is None:
        nothing = outcomes.logprobs.new_zeros(rows, 0)
        return nothing, nothing
    odds, full = outcomes.answer_logodds, reference.answer_logodds
    drops = full - odds
    # From the log-odds, for log-probabilities near 0 are round-off.
    whole = logprob_of_odds(full).sum() - logprob_of_odds(odds).sum(1, keepdim=True)
    own = drops[:, :steps] if steps > 1 else drops[:, :0]
    return drops, torch.cat((own, whole.expand(rows, steps - own.shape[1])), dim=1).sign()


def _blocks(logprobs: torch.Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows and steps of distributions that are worked on at once."""
    rows, steps, outcomes = logprobs.shape
    positions = max(1, block_size(logprobs.device) // outcomes)
    some_steps = min(steps, positions)
    some_rows = max(1, positions // some_steps)
    for step in range(0, steps, some_steps):
        for row in range(0, rows, some_rows):
            yield slice(row, row + some_rows), slice(step, step + some_steps)
