"""How much of the attribution falls on each part of the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gilot_plugin.analysis.placement import placements
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.statistics.families import ALPHA, judge, samples_needed
from gilot_plugin.statistics.intervals import mean_interval
from gilot_plugin.statistics.paired import PairedTest, paired_tests


class SegmentShare(NamedTuple):
    """What falls on one segment, over the samples that have it.

    Attributes:
        segment: Name of the part of the prompt.
        samples: Samples that have it.
        mean: Share of the absolute scores on its units, averaged over those samples.
        low: Lower end of the interval of the mean; None with too few samples.
        high: Its upper end.
        expected: Share that it would have if every character mattered alike: its share of the units' text.
        excess: Mean of (share minus expected share) over samples.
        test: Of whether the share is larger or smaller than it would be if every character mattered alike, by
            where it ranks among other places of the same scores, see
            :func:`gilot_plugin.analysis.placement.placements`.
        q_value: Its p-value, adjusted for all parts of all tasks; 1 where the samples are too few to tell.
        testable: Whether the samples are enough to tell anything from chance.
        dominant: Samples of which no other segment has a larger share.
    """

    segment: str
    samples: int
    mean: float
    low: float | None
    high: float | None
    expected: float
    excess: float
    test: PairedTest
    q_value: float
    testable: bool
    dominant: int

    @property
    def stands_out(self) -> bool:
        """Whether it has more, or less, than its length alone would give it, by more than chance."""
        return self.q_value <= ALPHA and self.test.mean * self.excess > 0


def segment_shares(record: Record, method: str | None = None) -> dict[str, float]:
    """Share of the absolute scores on the units of each segment; empty if all scores are 0.

    Args:
        record: A record.
        method: Whose scores; by default the record's own, see :attr:`Record.method`.
    """
    scores = record.scores.get(method or record.method or "", ())
    total = sum(map(abs, scores))
    if not total:
        return {}
    shares: dict[str, float] = {}
    for unit, score in zip(record.units, scores, strict=True):
        shares[unit.segment] = shares.get(unit.segment, 0.0) + abs(score) / total
    return shares


def dominant_segment(record: Record, method: str | None = None) -> str | None:
    """The segment with the largest share, the first of equals; None where all scores are 0."""
    shares = segment_shares(record, method)
    return max(shares, key=lambda name: shares[name]) if shares else None


def expected_shares(record: Record) -> dict[str, float]:
    """Share of the units' characters in each segment."""
    lengths: dict[str, int] = {}
    for unit, (start, end) in zip(record.units, record.spans, strict=True):
        lengths[unit.segment] = lengths.get(unit.segment, 0) + end - start
    total = sum(lengths.values())
    return {name: length / total for name, length in lengths.items()} if total else {}


def summarize_tasks(
    records: Sequence[Record], method: str | None = None, *, seed: int = 0
) -> dict[str, tuple[SegmentShare, ...]]:
    """Summarize the segments of each task, all of them one family of tests; largest mean share first.

    Args:
        records: Samples whose status is ok.
        method: See :func:`segment_shares`.
        seed: Of ties, and of the resampling.
    """
    tasks = dict.fromkeys(record.task for record in records)
    tables = {
        (task, segment): table
        for task in tasks
        for segment, table in _table([one for one in records if one.task == task], method, seed).items()
    }
    tests = paired_tests(
        [np.array([place - 0.5 for place in table.placements]) for table in tables.values()], seed=seed
    )
    judged = judge([test.p_value for test in tests], [test.attainable for test in tests])
    found: dict[str, list[SegmentShare]] = {task: [] for task in tasks}
    for ((task, segment), table), test, judgement in zip(tables.items(), tests, judged, strict=True):
        share, expected = np.array(table.shares), np.array(table.expected)
        low, high = mean_interval(share, 0.0, 1.0)
        found[task].append(
            SegmentShare(
                segment=segment,
                samples=len(share),
                mean=float(share.mean()),
                low=low,
                high=high,
                expected=float(expected.mean()),
                excess=float((share - expected).mean()),
                test=test,
                q_value=judgement.q_value,
                testable=judgement.level is not None,
                dominant=table.dominant,
            )
        )
    return {task: tuple(sorted(own, key=lambda summary: -summary.mean)) for task, own in found.items()}


def judged_words(share: SegmentShare) -> str:
    """A part against its length, for the cell of a table."""
    if not share.testable:
        return "too few samples" if share.test.pairs else ""
    return ("more" if share.excess > 0 else "less") if share.stands_out else "not told apart"


def verdict_line(found: Mapping[str, Sequence[SegmentShare]]) -> str:
    """What the tests of all parts say together, in words; empty where there are none."""
    every = [share for shares in found.values() for share in shares]
    tested = [share for share in every if share.test.pairs]
    if not tested:
        return ""
    count = sum(share.stands_out for share in every)
    able = sum(share.testable for share in every)
    if count:
        return (
            f"{count} of {len(tested)} parts have more or less than their length would give them (false "
            f"discovery rate {ALPHA:.0%})."
        )
    if not able:
        return (
            f"Nothing is claimed of any part: with so few samples, none of {len(tested)} can be told from "
            f"chance. It takes {samples_needed(len(tested))} samples of each."
        )
    return (
        f"No part is shown to have more or less than its length would give it ({able} of {len(tested)} have "
        "samples enough to be tested)."
    )


@dataclass
class _Table:
    """Numbers of one segment, one a sample, but for the placements, which prompts of one segment lack."""

    shares: list[float] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)
    placements: list[float] = field(default_factory=list)
    dominant: int = 0


def _table(records: Sequence[Record], method: str | None, seed: int) -> dict[str, _Table]:
    generator = np.random.default_rng(seed)
    found: dict[str, _Table] = {}
    for record in records:
        shares, expected = segment_shares(record, method), expected_shares(record)
        largest = dominant_segment(record, method)
        places = placements(record, method or record.method or "", generator)
        for segment, share in shares.items():
            table = found.setdefault(segment, _Table())
            table.shares.append(share)
            table.expected.append(expected.get(segment, 0.0))
            table.placements += [places[segment]] if segment in places else []
            table.dominant += segment == largest
    return found
