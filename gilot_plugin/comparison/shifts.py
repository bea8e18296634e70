"""Where attention went: shares of the attribution by segment and by word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.comparison.judging import ROUNDING, audit_q_values
from gilot_plugin.comparison.measures import piece_shares
from gilot_plugin.comparison.pairs import Pair
from gilot_plugin.statistics import ALPHA, MIN_PAIRS, PairedTest, paired_test

#: Words that are tested: the most frequent ones, which does not depend on how they shifted.
MAX_WORDS = 200


class Shift(NamedTuple):
    """How much more of the attribution falls on something, in the other model than in the base.

    Attributes:
        task: Name of the task; None over all tasks.
        name: The segment or the word.
        base: Its mean share in the base run.
        tuned: Its mean share in the other run.
        test: Of the differences.
        q_value: Its p-value, adjusted for all shifts of its kind (Benjamini and Hochberg).
        floor: Shift that repeated runs of the base model show.
    """

    task: str | None
    name: str
    base: float
    tuned: float
    test: PairedTest
    q_value: float
    floor: float

    @property
    def is_finding(self) -> bool:
        """Whether it is more than chance, and more than noise."""
        return self.q_value <= ALPHA and abs(self.test.mean) > self.floor


#: For what is tested, the shares of it in the pairs that have it: base, tuned.
_Shares = dict[tuple[str | None, str], list[tuple[float, float]]]


def segment_shifts(pairs: Sequence[Pair], repeated: Sequence[Sequence[Pair]], seed: int) -> tuple[Shift, ...]:
    """Shifts by task and segment; ``repeated`` are the pairs of the base run with its repetitions."""
    return _shifts(_segment_table(pairs), [_segment_table(found) for found in repeated], seed)


def _segment_table(pairs: Iterable[Pair]) -> _Shares:
    """By task and segment; a task whose prompts are in one part has nothing to shift."""
    found: _Shares = {}
    for pair in pairs:
        base, tuned = piece_shares(pair)
        if not (base.any() and tuned.any()):
            continue
        shares: dict[str, list[float]] = {}
        for piece, before, after in zip(pair.pieces, base, tuned, strict=True):
            entry = shares.setdefault(piece.segment, [0.0, 0.0])
            entry[0] += before
            entry[1] += after
        if len(shares) > 1:
            for segment, (before, after) in shares.items():
                found.setdefault((pair.base.task, segment), []).append((before, after))
    return found


def word_shifts(pairs: Sequence[Pair], repeated: Sequence[Sequence[Pair]], seed: int) -> tuple[Shift, ...]:
    """Shifts by word, whatever its case, over all tasks; ``repeated`` as in :func:`segment_shifts`."""
    table = _word_table(pairs)
    frequent = sorted(
        (key for key in table if len(table[key]) >= MIN_PAIRS), key=lambda key: -len(table[key])
    )
    kept = {key: table[key] for key in frequent[:MAX_WORDS]}
    return _shifts(kept, [_word_table(found) for found in repeated], seed)


def _word_table(pairs: Iterable[Pair]) -> _Shares:
    found: _Shares = {}
    for pair in pairs:
        base, tuned = piece_shares(pair)
        if not (base.any() and tuned.any()):
            continue
        shares: dict[str, list[float]] = {}
        for piece, before, after in zip(pair.pieces, base, tuned, strict=True):
            if word := piece.text.strip(_AROUND_WORDS).casefold():
                entry = shares.setdefault(word, [0.0, 0.0])
                entry[0] += before
                entry[1] += after
        for word, (before, after) in shares.items():
            found.setdefault((None, word), []).append((before, after))
    return found


_AROUND_WORDS = " \t\r\n.,:;!?\"'()[]{}“”‘’"


def _shifts(shares: _Shares, noise: Sequence[_Shares], seed: int) -> tuple[Shift, ...]:
    tests = {
        key: paired_test(np.array([after - before for before, after in found]), seed=seed)
        for key, found in shares.items()
    }
    q_values = audit_q_values([test.p_value for test in tests.values()])
    found = [
        Shift(
            task=key[0],
            name=key[1],
            base=float(np.mean([before for before, _ in shares[key]])),
            tuned=float(np.mean([after for _, after in shares[key]])),
            test=test,
            q_value=q_value,
            floor=_floor([table.get(key, []) for table in noise]),
        )
        for (key, test), q_value in zip(tests.items(), q_values, strict=True)
    ]
    return tuple(sorted(found, key=lambda shift: (not shift.is_finding, -abs(shift.test.mean))))


def _floor(repetitions: Iterable[Sequence[tuple[float, float]]]) -> float:
    """The largest mean shift of a repetition, at least what rounding may do."""
    means = [
        abs(float(np.mean([after - before for before, after in found]))) for found in repetitions if found
    ]
    return max([ROUNDING, *means])
