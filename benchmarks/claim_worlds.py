"""Worlds in which it is known what is there, and what the product says of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.optimize
from simulated_runs import FILLER, make_documents, make_record, make_run

from gilot_plugin.analysis.segments import summarize_tasks
from gilot_plugin.comparison.audit import Audit, audit_runs
from gilot_plugin.faithfulness.controls import control_rankings
from gilot_plugin.faithfulness.curves import FRACTIONS, SIMILARITY, Curves, SampleCurves, SampleKey
from gilot_plugin.faithfulness.randomization import THRESHOLD, Twin, compare_with_random_weights
from gilot_plugin.faithfulness.summary import summarize
from gilot_plugin.statistics.families import judge
from gilot_plugin.statistics.paired import paired_tests
from gilot_plugin.statistics.power import detectable


class Outcome(NamedTuple):
    """What was said of one drawing of a world.

    Attributes:
        found: Findings.
        false: Those of what is not there.
        planted: Things that are there.
        hits: Those that were found.
    """

    found: int
    false: int
    planted: int = 0
    hits: int = 0


class World(NamedTuple):
    """A claim, and a world to try it on.

    Attributes:
        claim: What the product prints, in short.
        world: What is there.
        draw: Draws the world once and asks the product.
        planted: Whether something is there.
    """

    claim: str
    world: str
    draw: Callable[[np.random.Generator], Outcome]
    planted: bool = False


def outcome(found: Iterable[object], planted: Iterable[object] = ()) -> Outcome:
    """Count findings."""
    named, there = set(found), set(planted)
    return Outcome(len(named), len(named - there), len(there), len(named & there))


# The audit of one run against another

#: Words whose scores are multiplied: with the first word, which gives what they gain, all that is there.
_LIFTED: Mapping[int, float] = dict.fromkeys((1, 2, 3), 8.0)
_PLANTED = frozenset(f"w{word:03d}" for word in (FILLER, *_LIFTED))


def _audit(
    generator: np.random.Generator,
    pairs: int,
    *,
    vocabulary: int = 60,
    length: int = 30,
    factors: Mapping[int, float] | None = None,
    repeated: Mapping[int, float] | None = None,
    with_noise: bool = True,
    accuracy: float = 0.7,
    noise: float = 0.3,
) -> Audit:
    documents = make_documents(generator, pairs, vocabulary=vocabulary, length=length)
    base = make_run(generator, documents, noise=noise)
    tuned = make_run(generator, documents, noise=noise, factors=factors, accuracy=accuracy)
    again = [make_run(generator, documents, noise=noise, factors=repeated)] if with_noise else []
    return audit_runs(base, tuned, noise=again, seed=int(generator.integers(2**31)))


def _all_findings(audit: Audit) -> Outcome:
    return outcome(
        (kind, number)
        for kind, found in enumerate((audit.words, audit.segments, audit.changes, audit.flips))
        for number, one in enumerate(found)
        if one.is_finding
    )


def _words(audit: Audit, planted: Iterable[str] = ()) -> Outcome:
    return outcome((shift.name for shift in audit.words if shift.is_finding), planted)


def _nothing_anywhere(generator: np.random.Generator, pairs: int, with_noise: bool = True) -> Outcome:
    return _all_findings(_audit(generator, pairs, with_noise=with_noise))


def _planted_words(generator: np.random.Generator, pairs: int, vocabulary: int = 60) -> Outcome:
    length = vocabulary // 2
    return _words(_audit(generator, pairs, vocabulary=vocabulary, length=length, factors=_LIFTED), _PLANTED)


def _shifts_that_repetitions_show(
    generator: np.random.Generator, pairs: int, planted: bool = False
) -> Outcome:
    """Most words shift a little, in the repetition of the base run as in the other run: none of it is new."""
    # Small shifts that do not scatter, beside words that scatter much and do not shift.
    small = {word: 1.25 if word % 2 else 0.8 for word in range(10, 60)}
    audit = _audit(
        generator, pairs, factors={**small, **(_LIFTED if planted else {})}, repeated=small, noise=0.1
    )
    return _words(audit, _PLANTED if planted else ())


def _changes(generator: np.random.Generator, pairs: int, planted: bool) -> Outcome:
    audit = _audit(generator, pairs, factors=_LIFTED if planted else None)
    measures = {"moved", "distance", "top_lost", "rank_change"} if planted else set()
    return outcome((change.name for change in audit.changes if change.is_finding), measures)


def _flips(generator: np.random.Generator, pairs: int, accuracy: float) -> Outcome:
    audit = _audit(generator, pairs, accuracy=accuracy, vocabulary=6, length=4)
    tasks = {flips.task for flips in audit.flips}
    return outcome((flips.task for flips in audit.flips if flips.is_finding), tasks if accuracy < 0.7 else ())


def _rare_words(generator: np.random.Generator, testable: bool) -> Outcome:
    """One planted word in all documents, among words of which most are in too few to be told from chance."""
    pairs, words = 24, 3 if testable else 150
    differences = [generator.normal(0.9, 1.0, pairs)]
    differences += [generator.normal(0.0, 1.0, 8) for _ in range(words)]
    tests = paired_tests(differences)
    judged = judge([test.p_value for test in tests], [test.attainable for test in tests], 4)
    return outcome((number for number, one in enumerate(judged) if one.is_finding), [0])


def _detectable(generator: np.random.Generator, pairs: int, words: int) -> Outcome:
    """One word that shifts by what the audit says that it could have found."""
    differences = [generator.normal(0.0, 1.0, pairs) for _ in range(words)]
    first = paired_tests(differences, seed=int(generator.integers(2**31)))
    judged = judge([test.p_value for test in first], [test.attainable for test in first], 4)
    size = detectable(first[0], judged[0])
    assert size is not None  # pairs enough
    differences[0] = size / first[0].spread + generator.normal(0.0, 1.0, pairs)
    tests = paired_tests(differences, seed=int(generator.integers(2**31)))
    judged = judge([test.p_value for test in tests], [test.attainable for test in tests], 4)
    return outcome((number for number, one in enumerate(judged) if one.is_finding), [0])


# Report and card: parts of the prompt against their length

_PARTS = ("description", "shot_1", "shot_2", "question")
_SIZES = (3, 9, 9, 15)


def _parts(
    generator: np.random.Generator, samples: int, *, shape: float, smooth: int = 1, factor: float = 1.0
) -> Outcome:
    segments = [part for part, size in zip(_PARTS, _SIZES, strict=True) for _ in range(size)]
    records = []
    for number in range(samples * 2):
        scores = generator.gamma(shape, 1.0, len(segments))
        # Neighbours resemble each other.
        scores = np.mean([np.roll(scores, step) for step in range(smooth)], axis=0)
        scores *= np.array([factor if part == "question" else 1.0 for part in segments])
        words = [f"w{place}" + "x" * int(generator.integers(6)) for place in range(len(segments))]
        lengths = np.array([len(word) + 1 for word in words])
        records.append(make_record(number, words, scores * lengths, segments=segments))
    found = summarize_tasks(records, "ot", seed=int(generator.integers(2**31)))
    named = [(task, share.segment) for task, own in found.items() for share in own if share.stands_out]
    if factor == 1.0:
        return outcome(named)
    planted = [(task, "question") for task in found]
    # That one part has more leaves less for all others: nothing that is found is false.
    return outcome(set(named) & set(planted), planted)


# Faithfulness


def _curves(area: float) -> Curves:
    """Curves with so large an area between them."""
    inner = len(FRACTIONS) - 2
    half = area * (len(FRACTIONS) - 1) / inner / 2
    morf, lerf = ((1.0, *([0.5 + sign * half] * inner), 0.0) for sign in (-1, 1))
    return Curves(morf, lerf, SIMILARITY.falls)


def _rankings(generator: np.random.Generator, samples: int, effects: Mapping[str, float]) -> Outcome:
    curves = []
    for doc in range(samples):
        key = SampleKey("task", doc, f"hash{doc}")
        for name in (*effects, *control_rankings(key, 4, 0, 5)):
            # Heavy tails: a few samples decide.
            area = effects.get(name, 0.0) + 0.1 * generator.standard_t(3)
            curves.append(SampleCurves(key, "delete", name, {SIMILARITY.name: _curves(area)}))
    (measure,) = summarize(curves, list(effects), ["delete"], int(generator.integers(2**31)))
    found = {
        (method.method, control.control)
        for method in measure.methods
        for control in method.controls
        if control.beaten or control.beats
    }
    found |= {(pair.method, pair.other) for pair in measure.differences if pair.better is not None}
    there = {
        (method.method, control.control)
        for method in measure.methods
        for control in method.controls
        if effects[method.method]
    }
    there |= {
        (pair.method, pair.other)
        for pair in measure.differences
        if effects[pair.method] != effects[pair.other]
    }
    return outcome(found, there)


def _random_weights(generator: np.random.Generator, samples: int, correlation: float) -> Outcome:
    """Methods whose attributions keep so much of their order with random weights."""
    methods, units = ("one", "two", "three"), 20
    mixed = _pearson(correlation, units)
    twins = []
    for doc in range(samples):
        trained, other = {}, {}
        for method in methods:
            scores = generator.normal(size=units)
            again = mixed * scores + np.sqrt(1 - mixed**2) * generator.normal(size=units)
            trained[method], other[method] = tuple(scores), tuple(again)
        twins.append(Twin(SampleKey("task", doc, ""), trained, other))
    test = compare_with_random_weights(twins, methods, 0, int(generator.integers(2**31)))
    passed = [found.method for found in test.methods if found.passes and not found.is_control]
    return outcome(passed, methods if correlation < THRESHOLD else ())


def _pearson(correlation: float, units: int) -> float:
    """Pearson's correlation of normal scores whose Spearman's is that on average (Moran 1948)."""

    def missing(rho: float) -> float:
        found = 6 / (np.pi * (units + 1)) * (np.arcsin(rho) + (units - 2) * np.arcsin(rho / 2))
        return float(found) - correlation

    return float(scipy.optimize.brentq(missing, 0.0, 1.0))


_NEITHER: Mapping[str, float] = {"ot": 0.0, "kl": 0.0}
_ONE: Mapping[str, float] = {"ot": 0.15, "kl": 0.0}


def worlds() -> list[World]:
    """Every claim, over worlds where nothing is there and worlds where something is."""
    return [*_of_audits(), *_of_parts(), *_of_rankings()]


def _of_audits() -> Iterator[World]:
    for pairs in (8, 20, 50):
        yield World(_ANY, f"the base run repeated, {pairs} pairs", partial(_nothing_anywhere, pairs=pairs))
    without = partial(_nothing_anywhere, pairs=20, with_noise=False)
    yield World(_ANY, "the same without --noise, 20 pairs", without)
    both = partial(_shifts_that_repetitions_show, pairs=20)
    yield World(_WORD, "shifts that the repetition shows too, 20 pairs", both)
    yield World(_WORD, "the same, 4 words of 61 shift more", partial(both, planted=True), planted=True)
    for pairs, vocabulary in ((20, 60), (50, 60), (40, 200)):
        shifted = partial(_planted_words, pairs=pairs, vocabulary=vocabulary)
        yield World(_WORD, f"4 words of {vocabulary + 1} shift, {pairs} pairs", shifted, planted=True)
    for testable, told in ((True, "in 24 pairs"), (False, "in 24 pairs, 150 others in 8 pairs each")):
        shifted = partial(_rare_words, testable=testable)
        yield World(_WORD, f"1 word shifts by 0.9 d {told}", shifted, planted=True)
    for pairs, words in ((12, 5), (20, 200), (50, 200)):
        shifted = partial(_detectable, pairs=pairs, words=words)
        yield World(_SMALLEST, f"1 word of {words} shifts by it, {pairs} pairs", shifted, planted=True)
    yield World(_CHANGED, "the base run repeated, 20 pairs", partial(_changes, pairs=20, planted=False))
    shifted = partial(_changes, pairs=20, planted=True)
    yield World(_CHANGED, "4 words of 61 shift, 20 pairs", shifted, planted=True)
    yield World(_FLIPPED, "as often right, 60 pairs", partial(_flips, pairs=60, accuracy=0.7))
    worse = partial(_flips, pairs=60, accuracy=0.2)
    yield World(_FLIPPED, "right 7 in 10, then 2 in 10, 60 pairs", worse, planted=True)


def _of_parts() -> Iterator[World]:
    for count in (5, 10, 20):
        alike = partial(_parts, samples=count, shape=0.3)
        yield World(_PART, f"every character alike, skewed, {count} samples", alike)
    smooth = partial(_parts, samples=20, shape=0.3, smooth=6)
    yield World(_PART, "the same, neighbours alike, 20 samples", smooth)
    for count in (10, 20):
        more = partial(_parts, samples=count, shape=0.3, factor=3.0)
        yield World(_PART, f"the question three times as much, {count} samples", more, planted=True)


def _of_rankings() -> Iterator[World]:
    for count in (10, 50):
        neither = partial(_rankings, samples=count, effects=_NEITHER)
        yield World(_BEATS, f"two methods as good as random, {count} samples", neither)
    one = partial(_rankings, samples=20, effects=_ONE)
    yield World(_BEATS, "one is better by 0.15, 20 samples", one, planted=True)
    for count in (8, 20):
        alike = partial(_random_weights, samples=count, correlation=THRESHOLD)
        yield World(_LEARNT, f"three methods at the threshold, {count} samples", alike)
    changed = partial(_random_weights, samples=20, correlation=0.2)
    yield World(_LEARNT, "correlations of 0.2, 20 samples", changed, planted=True)


_ANY = "audit: any finding"
_WORD = "audit: a word weighs more or less"
_SMALLEST = "audit: the smallest detectable shift (80 %)"
_CHANGED = "audit: the attributions differ"
_FLIPPED = "audit: more answers changed one way"
_PART = "report, card: a part has more or less than its length"
_BEATS = "faithfulness: beats, is beaten by"
_LEARNT = "faithfulness: depends on what was learnt"
