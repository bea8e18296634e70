"""How much of the attribution falls on each part of the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.statistics import bootstrap_interval


class SegmentShare(NamedTuple):
    """What falls on one segment, over the samples that have it.

    Attributes:
        segment: Name of the part of the prompt.
        samples: Samples that have it.
        mean: Share of the absolute scores on its units, averaged over those samples.
        low: Lower end of the bootstrap interval of the mean; None with too few samples.
        high: Its upper end.
        expected: Share that it would have if every character mattered alike: its share of the units' text.
        excess: Mean of (share minus expected share) over samples.
        excess_low: Lower end of the interval of that; None with too few samples.
        excess_high: Its upper end.
        dominant: Samples of which no other segment has a larger share.
    """

    segment: str
    samples: int
    mean: float
    low: float | None
    high: float | None
    expected: float
    excess: float
    excess_low: float | None
    excess_high: float | None
    dominant: int

    @property
    def stands_out(self) -> bool:
        """Whether the interval lies wholly above or below what its length alone would give it."""
        return (
            self.excess_low is not None
            and self.excess_high is not None
            and (self.excess_low > 0 or self.excess_high < 0)
        )


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


def summarize_segments(
    records: Sequence[Record], method: str | None = None, *, seed: int = 0
) -> tuple[SegmentShare, ...]:
    """Summarize segments over samples, largest mean share first.

    Args:
        records: Samples whose status is ok.
        method: See :func:`segment_shares`.
        seed: Of the bootstrap.
    """
    pairs = [(segment_shares(record, method), expected_shares(record)) for record in records]
    pairs = [pair for pair in pairs if pair[0]]
    first = [max(shares, key=lambda name: shares[name]) for shares, _ in pairs]
    found = []
    for segment in dict.fromkeys(name for shares, _ in pairs for name in shares):
        own = [
            (shares[segment], expected.get(segment, 0.0)) for shares, expected in pairs if segment in shares
        ]
        share, expected = np.array(own).T
        low, high = bootstrap_interval(share, seed)
        excess_low, excess_high = bootstrap_interval(share - expected, seed)
        found.append(
            SegmentShare(
                segment=segment,
                samples=len(own),
                mean=float(share.mean()),
                low=low,
                high=high,
                expected=float(expected.mean()),
                excess=float((share - expected).mean()),
                excess_low=excess_low,
                excess_high=excess_high,
                dominant=first.count(segment),
            )
        )
    return tuple(sorted(found, key=lambda summary: -summary.mean))
