"""Where the attribution went: its shares by segment and by word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.analysis.words import plain_word
from gilot_plugin.comparison.judging import ROUNDING, judge_tests
from gilot_plugin.comparison.measures import piece_shares
from gilot_plugin.comparison.pairs import Pair
from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.statistics.paired import MIN_PAIRS, PairedTest, paired_tests
from gilot_plugin.statistics.power import detectable

#: Words that are tested: the most frequent ones, which does not depend on how they shifted.
MAX_WORDS = 200


class Shift(NamedTuple):
    """How much more of the attribution falls on something, in the other model than in the base.

    Attributes:
        task: Name of the task; None over all tasks.
        name: The segment or the word.
        base: Its mean share in the base run.
        tuned: Its mean share in the other run.
        test: Of whether the mean difference is larger than the floor, which is the shift that repeated runs
            of the base model show.
        q_value: Its p-value, adjusted for all shifts of its kind; 1 where the pairs are too few to be a
            finding.
        detectable: The smallest shift that this audit, with all its tests, would have shown with a
            probability of 80 %; None where the pairs are too few for any.
    """

    task: str | None
    name: str
    base: float
    tuned: float
    test: PairedTest
    q_value: float
    detectable: float | None

    @property
    def is_finding(self) -> bool:
        """Whether it is more than chance and noise."""
        return self.q_value <= ALPHA


#: For what is tested, the shares of it in the documents that have it: base, tuned, each repetition.
_Shares = dict[tuple[str | None, str], list[tuple[float, ...]]]


def segment_shifts(pairs: Sequence[Pair], repeated: Sequence[Sequence[Pair]], seed: int) -> tuple[Shift, ...]:
    """Shifts by task and segment.

    Args:
        pairs: The base run with the other one.
        repeated: For each repetition of the base run, the base run with it: the same documents in the same
            order.
        seed: Of the resampling.
    """
    found: _Shares = {}
    for pair, shares in _documents(pairs, repeated):
        of_segments = _summed(shares, [piece.segment for piece in pair.pieces])
        # A prompt in one part has nothing to shift.
        if len(of_segments) > 1:
            for segment, sums in of_segments.items():
                found.setdefault((pair.base.task, segment), []).append(sums)
    return _shifts(found, seed)


def word_shifts(pairs: Sequence[Pair], repeated: Sequence[Sequence[Pair]], seed: int) -> tuple[Shift, ...]:
    """Shifts by word, whatever its case, over all tasks; arguments as in :func:`segment_shifts`."""
    found: _Shares = {}
    for pair, shares in _documents(pairs, repeated):
        words = [plain_word(piece.text) for piece in pair.pieces]
        for word, sums in _summed(shares, words).items():
            if word:
                found.setdefault((None, word), []).append(sums)
    frequent = sorted(
        (key for key in found if len(found[key]) >= MIN_PAIRS), key=lambda key: -len(found[key])
    )
    return _shifts({key: found[key] for key in frequent[:MAX_WORDS]}, seed)


def _documents(
    pairs: Sequence[Pair], repeated: Sequence[Sequence[Pair]]
) -> Iterator[tuple[Pair, np.ndarray]]:
    """Pairs with the shares of their pieces, ``[base, tuned and each repetition; pieces]``.

    Left out where one of the runs has no scores but 0.
    """
    for pair, *again in zip(pairs, *repeated, strict=True):
        shares = np.array([*piece_shares(pair), *(piece_shares(found)[1] for found in again)])
        if shares.any(axis=1).all():
            yield pair, shares


def _summed(shares: np.ndarray, names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Shares of the pieces of each name, added up."""
    found: dict[str, np.ndarray] = {}
    for name, column in zip(names, shares.T, strict=True):
        found[name] = found[name] + column if name in found else column
    return {name: tuple(map(float, column)) for name, column in found.items()}


def _shifts(shares: _Shares, seed: int) -> tuple[Shift, ...]:
    tables = {key: np.array(found) for key, found in shares.items()}
    tests = paired_tests(
        [table[:, 1] - table[:, 0] for table in tables.values()],
        [_floor(table) for table in tables.values()],
        seed=seed,
    )
    found = [
        Shift(
            task=task,
            name=name,
            base=float(table[:, 0].mean()),
            tuned=float(table[:, 1].mean()),
            test=test,
            q_value=judged.q_value,
            detectable=detectable(test, judged),
        )
        for ((task, name), table), test, judged in zip(tables.items(), tests, judge_tests(tests), strict=True)
    ]
    return tuple(sorted(found, key=lambda shift: (not shift.is_finding, -abs(shift.test.mean))))


def _floor(table: np.ndarray) -> float:
    """The largest mean shift of a repetition, at least what rounding may do."""
    again = table[:, 2:] - table[:, :1]
    return float(max([ROUNDING, *np.abs(again.mean(axis=0))]))
