"""Tables of the faithfulness benchmark, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr

from gilot_plugin.artifacts.faithfulness import MeanInterval
from gilot_plugin.faithfulness.controls import SampleRankings, by_measure, with_controls
from gilot_plugin.faithfulness.curves import QUANTITIES, Curves, SampleCurves
from gilot_plugin.faithfulness.ranked import Ranking
from gilot_plugin.faithfulness.summary import interval_of
from gilot_plugin.statistics.families import judge
from gilot_plugin.statistics.paired import PairedTest, paired_test

_COLUMNS = (
    "ranking",
    "area",
    "against random",
    "q",
    "against {against}",
    "q",
    "comprehensiveness",
    "sufficiency",
    "ranks like {against}",
    "s a prompt",
    "tokens a prompt",
)


class Attributed(NamedTuple):
    """What all arms say of all instructions.

    Attributes:
        rankings: For each sample and ranking, the units by relevance.
        seconds: For each ranking, seconds of each sample.
        tokens: For each ranking, tokens that the model read of each sample, for all methods together.
    """

    rankings: Sequence[Mapping[str, Ranking]]
    seconds: Mapping[str, Sequence[float]]
    tokens: Mapping[str, Sequence[float]]

    def agreement(self, one: str, other: str) -> float:
        """Spearman's correlation of the ranks that two rankings give to units, mean over the samples."""
        found = [
            float(spearmanr(np.argsort(sample[one]), np.argsort(sample[other])).statistic)
            for sample in self.rankings
            if len(sample[one]) > 1
        ]
        return float(np.mean(found)) if found else float("nan")


class _Row(NamedTuple):
    """A ranking on the samples that have it.

    Attributes:
        name: The ranking.
        curves: One a sample.
        against_random: Paired difference of areas; None for a control.
        against: The same against the ranking of reference; None for itself, and where that is not measured.
    """

    name: str
    curves: Sequence[Curves]
    against_random: PairedTest | None
    against: PairedTest | None


def report(
    described: str,
    curves: Iterable[SampleCurves],
    attributed: Attributed,
    absences: Sequence[str],
    against: str,
    seed: int,
) -> str:
    """One table a quantity and way to remove words.

    Args:
        described: What was measured.
        curves: Of all samples and rankings.
        attributed: The rankings, in the order to show.
        absences: Ways to remove words.
        against: Ranking of reference.
        seed: Of the resampling.
    """
    parts = [
        f"{described}\n\nMean (95 % bootstrap interval). Areas lie between the curves of least and most "
        "relevant words first; differences are paired, q is the permutation test's p-value adjusted over the "
        "column (Benjamini and Hochberg). Ranks are compared by Spearman's correlation, mean over samples. "
        "Distances under the same settings share their seconds."
    ]
    found = by_measure(curves)
    for absence in absences:
        for quantity in QUANTITIES:
            samples = [with_controls(one) for one in found.get((quantity, absence), {}).values()]
            if samples:
                rows = list(_rows(samples, tuple(attributed.seconds), against, seed))
                title = f"### {quantity}, {absence}: {QUANTITIES[quantity].summary}"
                parts.append("\n".join([title, "", *_table(rows, attributed, against, seed)]))
    return "\n\n".join(parts) + "\n"


def _rows(samples: Sequence[SampleRankings], names: Sequence[str], against: str, seed: int) -> Iterator[_Row]:
    for name in names:
        curves = [one.methods[name] for one in samples]
        random = [one.controls["random"] for one in samples]
        reference = [one.methods[against] for one in samples if against in one.methods]
        yield _Row(
            name,
            curves,
            _test(curves, random, seed),
            _test(curves, reference, seed) if reference and name != against else None,
        )
    for control in samples[0].controls:
        yield _Row(control, [one.controls[control] for one in samples], None, None)


def _test(one: Sequence[Curves], other: Sequence[Curves], seed: int) -> PairedTest:
    areas = [a.area - b.area for a, b in zip(one, other, strict=True)]
    return paired_test(np.array(areas), seed=seed)


def _table(rows: Sequence[_Row], attributed: Attributed, against: str, seed: int) -> Iterator[str]:
    yield "| " + " | ".join(_COLUMNS).format(against=against) + " |"
    yield "| --- |" + " ---: |" * (len(_COLUMNS) - 1)
    of_random = _adjusted([row.against_random for row in rows])
    of_reference = _adjusted([row.against for row in rows])
    for row, random_q, reference_q in zip(rows, of_random, of_reference, strict=True):
        numbers = (
            [getattr(one, name) for one in row.curves]
            for name in ("area", "comprehensiveness", "sufficiency")
        )
        area, comprehensiveness, sufficiency = (_interval(interval_of(found)) for found in numbers)
        agreement = spent = tokens = ""
        if row.name in attributed.seconds:
            spent = f"{np.mean(attributed.seconds[row.name]):.2f}"
            tokens = f"{np.mean(attributed.tokens[row.name]):.0f}"
            if row.against is not None:
                agreement = f"{attributed.agreement(row.name, against):.2f}"
        cells = (
            row.name,
            area,
            *(_difference(row.against_random), random_q),
            *(_difference(row.against), reference_q),
            comprehensiveness,
            sufficiency,
            agreement,
            spent,
            tokens,
        )
        yield "| " + " | ".join(cells) + " |"


def _adjusted(tests: Sequence[PairedTest | None]) -> Iterator[str]:
    own = [test for test in tests if test is not None]
    judged = judge([test.p_value for test in own], [test.attainable for test in own])
    known = iter([judgement.q_value for judgement in judged])
    for test in tests:
        yield "" if test is None else f"{next(known):.2g}"


def _interval(interval: MeanInterval) -> str:
    if interval.low is None or interval.high is None:
        return f"{interval.mean:.3f}"
    return f"{interval.mean:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _difference(test: PairedTest | None) -> str:
    if test is None:
        return ""
    return _interval(MeanInterval(mean=test.mean, low=test.low, high=test.high))
