"""How far two attributions of one document are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats

from gilot_plugin.analysis.segments import segment_shares
from gilot_plugin.artifacts.models import RecordedTarget
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.comparison.pairs import Pair

#: Pieces at the top that are compared as a set.
TOP_K = 5
#: Least probability, summed over units, that makes a flow worth naming.
MIN_FLOW = 0.05
#: A flow appeared where it is so many times what it was, and vanished where it is as small a part of it.
FLOW_RATIO = 4.0


@dataclass(frozen=True)
class FlowChange:
    """A move of probability that only one of the models makes.

    Attributes:
        source: Outcome that loses the probability.
        target: Outcome that gains it.
        base: Mass that the base model moves, summed over units.
        tuned: Mass that the other model moves.
    """

    source: str
    target: str
    base: float
    tuned: float


@dataclass(frozen=True)
class Measures:
    """What changed from the base model to the other one.

    Attributes:
        rank_correlation: Spearman's, of the scores; None where all scores of a model are equal.
        top_overlap: Share of the :data:`TOP_K` highest pieces that both have.
        moved: Share of the attribution that lies elsewhere: total variation of the shares of the pieces.
        distance: How far it moved: optimal transport between the shares along the prompt, in lengths of the
            prompt.
        segment_shift: Share of each segment, the other model's minus the base model's.
        outcome_change: Total variation of the distributions over the outcomes that were recorded.
        flip: ``"right to wrong"``, ``"wrong to right"``; None where nothing changed or no metric judges.
        flows: Flows that appeared or vanished, the most changed first.
    """

    rank_correlation: float | None
    top_overlap: float
    moved: float
    distance: float
    segment_shift: Mapping[str, float]
    outcome_change: float
    flip: str | None
    flows: tuple[FlowChange, ...]


def measure_pair(pair: Pair, method: str) -> Measures:
    """Measure one pair; see :class:`Measures`."""
    base = np.array([piece.base for piece in pair.pieces])
    tuned = np.array([piece.tuned for piece in pair.pieces])
    base_share, tuned_share = _shares(base), _shares(tuned)
    positions = [piece.position for piece in pair.pieces]
    comparable = base_share.sum() > 0 and tuned_share.sum() > 0
    return Measures(
        rank_correlation=_rank_correlation(base, tuned),
        top_overlap=_top_overlap(base, tuned),
        moved=float(np.abs(base_share - tuned_share).sum() / 2),
        distance=float(scipy.stats.wasserstein_distance(positions, positions, base_share, tuned_share))
        if comparable
        else 0.0,
        segment_shift=_segment_shift(pair, method),
        outcome_change=_outcome_change(pair.base.target, pair.tuned.target),
        flip=_flip(pair.base.correct, pair.tuned.correct),
        flows=_flow_changes(pair.base, pair.tuned),
    )


def piece_shares(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Share of each piece in the absolute scores, ``[pieces]`` for either model."""
    return (
        _shares(np.array([piece.base for piece in pair.pieces])),
        _shares(np.array([piece.tuned for piece in pair.pieces])),
    )


def _shares(scores: np.ndarray) -> np.ndarray:
    total = np.abs(scores).sum()
    return np.abs(scores) / total if total > 0 else np.zeros(len(scores))


def _rank_correlation(base: np.ndarray, tuned: np.ndarray) -> float | None:
    if len(base) < 2 or np.ptp(base) == 0 or np.ptp(tuned) == 0:
        return None
    # Pearson's of the ranks: spearmanr computes p-values as well, which takes ten times as long.
    return float(np.corrcoef(scipy.stats.rankdata(base), scipy.stats.rankdata(tuned))[0, 1])


def _top_overlap(base: np.ndarray, tuned: np.ndarray) -> float:
    count = min(TOP_K, len(base))
    if not count:
        return 1.0
    tops = [set(np.argsort(-np.abs(scores), kind="stable")[:count].tolist()) for scores in (base, tuned)]
    return len(tops[0] & tops[1]) / count


def _segment_shift(pair: Pair, method: str) -> dict[str, float]:
    """Of segments that both prompts have; where a model has no scores but 0, nothing is said."""
    base, tuned = segment_shares(pair.base, method), segment_shares(pair.tuned, method)
    return {segment: tuned[segment] - share for segment, share in base.items() if segment in tuned}


def _outcome_change(base: RecordedTarget | None, tuned: RecordedTarget | None) -> float:
    if base is None or tuned is None:
        return 0.0
    first, second = _outcomes(base), _outcomes(tuned)
    texts = dict.fromkeys((*first, *second))
    apart = sum(abs(first.get(text, 0.0) - second.get(text, 0.0)) for text in texts)
    # What the recorded outcomes leave over is one more outcome.
    rest = abs(sum(first.values()) - sum(second.values()))
    return min(1.0, (apart + rest) / 2)


def _outcomes(target: RecordedTarget) -> dict[str, float]:
    """Probability of each text: of a choice among the choices, of a continuation among all there are."""
    found: dict[str, float] = {}
    for outcome in target.choices:
        found[outcome.text] = found.get(outcome.text, 0.0) + outcome.probability
    for hypothesis in target.hypotheses:
        found[hypothesis.text] = found.get(hypothesis.text, 0.0) + float(np.exp(hypothesis.logprob))
    return found


def _flip(base: bool | None, tuned: bool | None) -> str | None:
    if base is None or tuned is None or base == tuned:
        return None
    return "right to wrong" if base else "wrong to right"


def _flow_changes(base: Record, tuned: Record) -> tuple[FlowChange, ...]:
    before, after = _flow_masses(base), _flow_masses(tuned)
    changes = [
        FlowChange(*ends, before.get(ends, 0.0), after.get(ends, 0.0))
        for ends in dict.fromkeys((*before, *after))
    ]
    found = [change for change in changes if _appeared_or_vanished(change)]
    return tuple(sorted(found, key=lambda change: -abs(change.tuned - change.base)))


def _flow_masses(record: Record) -> dict[tuple[str, str], float]:
    return {(flow.from_token, flow.to_token): flow.mass for flow in record.total_flows}


def _appeared_or_vanished(change: FlowChange) -> bool:
    less, more = sorted((change.base, change.tuned))
    return more >= MIN_FLOW and more >= FLOW_RATIO * less


def dissimilarities(measures: Sequence[Measures]) -> dict[str, np.ndarray]:
    """Measures that are 0 where nothing changed, one number a pair, by name."""
    return {
        "moved": np.array([found.moved for found in measures]),
        "distance": np.array([found.distance for found in measures]),
        "outcome_change": np.array([found.outcome_change for found in measures]),
        "top_lost": np.array([1 - found.top_overlap for found in measures]),
        "rank_change": np.array(
            [0.0 if found.rank_correlation is None else 1 - found.rank_correlation for found in measures]
        ),
    }
