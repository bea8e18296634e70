"""Outcomes of rows from the likeliest tokens of their distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from gilot_plugin.backends._vllm.told import FloatArray, IntArray, Told
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import AddedTokens, Outcomes
from gilot_plugin.backends.wanted import Hypotheses, Nucleus, Reduction, Want


@dataclass(frozen=True, eq=False)
class RowOutcome:
    """What was told of a row.

    Attributes:
        distributions: What comes after it, one a position; none if none were wanted.
        token_logprobs: Of the sequences' tokens, ``[sequences, longest]``.
        token_logodds: The same against all other tokens; None if not wanted.
        model_tokens: Tokens that were read for it.
        hypotheses: Those that were searched after it; None where they were given.
    """

    distributions: tuple[Told, ...]
    token_logprobs: FloatArray
    token_logodds: FloatArray | None
    model_tokens: int
    hypotheses: Hypotheses | None = None


@dataclass(frozen=True, eq=False)
class ToldReference:
    """The full prompt's outcomes: a :class:`gilot_plugin.backends.scorer.Reference`.

    Attributes:
        row: The prompt, to be read again where more is wanted of it.
        outcome: What was told of it.
        nucleus: How much of its distributions is compared; None for nothing.
    """

    row: Row
    outcome: RowOutcome
    nucleus: Nucleus | None

    @cached_property
    def nuclei(self) -> Sequence[tuple[IntArray, FloatArray]]:
        """See :attr:`gilot_plugin.backends.scorer.Reference.nuclei`."""
        assert self.nucleus is not None  # asked for where something is transported
        members = [told.nucleus(*self.nucleus) for told in self.outcome.distributions]
        return [
            (ids, np.exp(told.at(ids))) for ids, told in zip(members, self.outcome.distributions, strict=True)
        ]

    @property
    def token_logprobs(self) -> FloatArray:
        """See :attr:`gilot_plugin.backends.scorer.Reference.token_logprobs`."""
        return self.outcome.token_logprobs

    @property
    def token_logodds(self) -> FloatArray | None:
        """See :attr:`gilot_plugin.backends.scorer.Reference.token_logodds`."""
        return self.outcome.token_logodds

    @property
    def hypotheses(self) -> Hypotheses | None:
        """See :attr:`gilot_plugin.backends.scorer.Reference.hypotheses`."""
        return self.outcome.hypotheses

    @property
    def entropy(self) -> float:
        """See :attr:`gilot_plugin.backends.scorer.Reference.entropy`."""
        return float(np.mean([told.entropy for told in self.outcome.distributions]))

    def tells(self, want: Want) -> bool:
        """Whether nothing more is wanted of it."""
        return (
            (want.nucleus is None or want.nucleus == self.nucleus)
            and (not want.reductions or bool(self.outcome.distributions))
            and (not want.logodds or self.outcome.token_logodds is not None)
        )


def outcomes_of(rows: Sequence[RowOutcome], reference: ToldReference, want: Want) -> Outcomes:
    """Compare what was told of rows with what was told of the full prompt."""
    logodds = [row.token_logodds for row in rows if row.token_logodds is not None]
    return Outcomes(
        reductions=_reduced(rows, reference, want.reductions),
        token_logprobs=_stacked([row.token_logprobs for row in rows], reference.token_logprobs.shape),
        added=None if want.nucleus is None else _added(rows, reference, want.nucleus),
        token_logodds=_stacked(logodds, reference.token_logprobs.shape) if want.logodds else None,
    )


def _stacked(rows: Sequence[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    return np.stack(rows) if rows else np.zeros((0, *shape))


def _reduced(
    rows: Sequence[RowOutcome], reference: ToldReference, reductions: Sequence[Reduction]
) -> Mapping[str, FloatArray]:
    """Of the tokens that are told of with and without units, with all others as one more outcome.

    The masses of these are known exactly, and so is what is left.
    """
    positions = len(reference.outcome.distributions)
    found = {reduction.name: np.zeros((len(rows), positions)) for reduction in reductions}
    for place, row in enumerate(rows) if reductions else ():
        pairs = list(zip(reference.outcome.distributions, row.distributions, strict=True))
        common = [np.intersect1d(full.token_ids, other.token_ids) for full, other in pairs]
        full, without = (
            torch.from_numpy(_with_tails([pair[side] for pair in pairs], common)) for side in (0, 1)
        )
        for reduction in reductions:
            numbers = reduction.compute(full, without.unsqueeze(0))
            if numbers.shape != (1, positions):
                raise ValueError(
                    f"method {reduction.name!r} gave numbers of the shape {list(numbers.shape)}: wanted is "
                    f"one for each row and step, {[1, positions]}"
                )
            found[reduction.name][place] = numbers[0].double().numpy()
    return found


def _with_tails(distributions: Sequence[Told], members: Sequence[IntArray]) -> FloatArray:
    """Log-probabilities of some tokens of each, then that of all others, ``[positions, longest + 1]``.

    What fills up shorter lists cannot be.
    """
    found = np.full((len(distributions), 1 + max(map(len, members), default=0)), -np.inf)
    for line, told, ids in zip(found, distributions, members, strict=True):
        inside = told.at(ids)
        line[: len(ids)] = inside
        # The told tokens that are left out, added up by themselves: 1 less the others would be round-off.
        left_out = np.exp(told.logprobs[~np.isin(told.token_ids, ids)]).sum() + told.tail
        with np.errstate(divide="ignore"):
            line[-1] = np.log(left_out)
    return found


def _added(rows: Sequence[RowOutcome], reference: ToldReference, nucleus: Nucleus) -> AddedTokens:
    full, shared = reference.outcome.distributions, [ids for ids, _ in reference.nuclei]
    added = [
        [
            np.setdiff1d(told.nucleus(*nucleus), ids)
            for told, ids in zip(row.distributions, shared, strict=True)
        ]
        for row in rows
    ]
    sizes = np.array([[len(ids) for ids in row] for row in added], dtype=np.int64).reshape(
        len(rows), len(full)
    )
    shape = (*sizes.shape, int(sizes.max(initial=0)))
    found = AddedTokens(
        token_ids=np.zeros(shape, dtype=np.int64),
        sizes=sizes,
        of_reference=np.full(shape, -np.inf),
        of_rows=np.full(shape, -np.inf),
        shared=np.full((*sizes.shape, max(map(len, shared), default=0)), -np.inf),
    )
    for place, (row, of_row) in enumerate(zip(rows, added, strict=True)):
        for position, (told, ids) in enumerate(zip(row.distributions, of_row, strict=True)):
            here = (place, position, slice(len(ids)))
            found.token_ids[here], found.of_rows[here] = ids, told.at(ids)
            found.of_reference[here] = full[position].at(ids)
            found.shared[place, position, : len(shared[position])] = told.at(shared[position])
    return found
