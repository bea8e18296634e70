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

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import AddedTokens, Outcomes
from gilot_plugin.backends.scoring.distributions import Distributions
from gilot_plugin.backends.scoring.logprobs import accurate, entropy
from gilot_plugin.backends.scoring.nuclei import AddedOutcomes, SharedNuclei, added_outcomes, shared_nuclei
from gilot_plugin.backends.scoring.transfer import HostCopy
from gilot_plugin.backends.scoring.trie import SequenceReading
from gilot_plugin.backends.wanted import Hypotheses, Nucleus, Want

FloatArray = NDArray[np.float64]

#: Copies of a prompt's distributions alive at once where they are made.
_OUTCOME_COPIES = 3

#: Bytes that are made of each outcome of a nucleus until it is on the host.
_SUPPORT_BYTES = 128


@dataclass(frozen=True, eq=False)
class DenseReference:
    """A :class:`gilot_plugin.backends.scorer.Reference` whose distributions stay where they were computed.

    Attributes:
        distributions: Of the full prompt, the only row.
        shared: What takes part in transport; None if nothing does.
        row: The full prompt; None where it was not read as one.
        hypotheses: What was searched after it; None where the hypotheses were given.
    """

    distributions: Distributions
    shared: SharedNuclei | None
    row: Row | None = None
    hypotheses: Hypotheses | None = None

    @classmethod
    def of(
        cls,
        distributions: Distributions,
        nucleus: Nucleus | None,
        row: Row | None = None,
        hypotheses: Hypotheses | None = None,
    ) -> DenseReference:
        """That of the first row, which is copied: batches go, and it stays."""
        first = distributions.first()
        shared = None if nucleus is None else shared_nuclei(first.logprobs[0], *nucleus)
        return cls(first, shared, row, hypotheses)

    def within(self, nucleus: Nucleus | None) -> DenseReference:
        """The same with what takes part in transport, where it is asked for and lacking."""
        if nucleus is None or self.shared is not None:
            return self
        return replace(self, shared=shared_nuclei(self.logprobs, *nucleus))

    @property
    def logprobs(self) -> torch.Tensor:
        """Log P(v | x), ``[positions, outcomes]``, where it was computed."""
        return self.distributions.logprobs[0]

    @cached_property
    def entropy(self) -> float:
        """Entropy of the outcomes, in nats, averaged over positions."""
        return float(entropy(self.logprobs.to(accurate(self.logprobs.device))).mean())

    @cached_property
    def _of_sequences(self) -> tuple[FloatArray, FloatArray | None]:
        copied = HostCopy([part[0] for part in self.distributions.sequences if part is not None])
        logprobs, *odds = map(_wide, copied.arrays())
        return logprobs, odds[0] if odds else None

    @property
    def token_logprobs(self) -> FloatArray:
        """See :class:`gilot_plugin.backends.scorer.Reference`."""
        return self._of_sequences[0]

    @property
    def token_logodds(self) -> FloatArray | None:
        """See :class:`gilot_plugin.backends.scorer.Reference`."""
        return self._of_sequences[1]

    @cached_property
    def nuclei(self) -> tuple[tuple[NDArray[np.int64], FloatArray], ...]:
        """See :class:`gilot_plugin.backends.scorer.Reference`."""
        assert self.shared is not None  # asked for where something is transported
        copied = HostCopy([self.shared.outcomes, self.shared.logprobs, self.shared.sizes])
        outcomes, logprobs, sizes = copied.arrays()
        masses = np.exp(logprobs.astype(np.float64))
        return tuple(
            (row[:size], mass[:size]) for row, mass, size in zip(outcomes, masses, sizes, strict=True)
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


class Reduced(NamedTuple):
    """What is left of the distributions of some rows, where they were computed.

    Attributes:
        numbers: Of each reduction, ``[reductions, rows, positions]``.
        sequences: See :class:`Distributions`.
        added: For transport; None without.
        names: Of the reductions.
    """

    numbers: torch.Tensor
    sequences: SequenceReading
    added: AddedOutcomes | None
    names: tuple[str, ...]


def reduce(distributions: Distributions, reference: DenseReference, want: Want) -> Reduced:
    """Compare distributions with the full prompt's; the host waits a constant number of times.

    Args:
        distributions: Of prompts without units.
        reference: Of the full prompt.
        want: What is wanted of them.

    Raises:
        ValueError: A reduction gave something of another shape.
    """
    logprobs, reductions = distributions.logprobs, want.reductions
    rows, positions, _ = logprobs.shape
    numbers = logprobs.new_zeros(len(reductions), rows, positions, dtype=accurate(logprobs.device))
    for block in _blocks(logprobs) if reductions else ():
        _, of_positions = block
        present = reference.logprobs[of_positions].to(numbers.dtype)
        absent = logprobs[block].to(numbers.dtype)
        for number, reduction in zip(numbers, reductions, strict=True):
            found = reduction.compute(present, absent)
            if found.shape != absent.shape[:2]:
                raise ValueError(
                    f"method {reduction.name!r} gave numbers of the shape {list(found.shape)}: wanted is one "
                    f"for each row and step, {list(absent.shape[:2])}"
                )
            number[block] = found.to(number)
    added: AddedOutcomes | None = None
    if want.nucleus is not None and rows:
        assert reference.shared is not None  # made with the same nucleus
        added = added_outcomes(logprobs, reference.logprobs, reference.shared, *want.nucleus)
    names = tuple(reduction.name for reduction in reductions)
    return Reduced(numbers, distributions.sequences, added, names)


def to_host(some: Sequence[Reduced]) -> list[Callable[[], Outcomes]]:
    """Bring what is left to the host, in one transfer.

    Returns:
        For each of them, what waits for it.
    """
    tensors = [
        [one.numbers, *(part for part in one.sequences if part is not None), *(one.added or ())]
        for one in some
    ]
    copied = HostCopy([tensor for parts in tensors for tensor in parts])
    ends = list(accumulate(map(len, tensors)))

    def arrived(one: Reduced, start: int, end: int) -> Outcomes:
        numbers, logprobs, *others = copied.arrays()[start:end]
        odds: FloatArray | None = None
        if one.sequences.logodds is not None:
            odds, *others = others
            odds = _wide(odds)
        return Outcomes(
            dict(zip(one.names, _wide(numbers), strict=True)),
            _wide(logprobs),
            AddedTokens(*others) if others else None,
            odds,
        )

    starts = zip(some, [0, *ends], ends, strict=False)
    return [partial(arrived, one, start, end) for one, start, end in starts]


def _wide(numbers: NDArray[Any]) -> FloatArray:
    return numbers.astype(np.float64, copy=False)


def _blocks(logprobs: torch.Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows and steps of distributions that are worked on at once."""
    rows, steps, outcomes = logprobs.shape
    positions = max(1, block_size(logprobs.device) // outcomes)
    some_steps = min(steps, positions)
    some_rows = max(1, positions // some_steps)
    for step in range(0, steps, some_steps):
        for row in range(0, rows, some_rows):
            yield slice(row, row + some_rows), slice(step, step + some_steps)
