"""What carries the attribution in one group of samples and less in the others, as in wrong answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from gilot_plugin.analysis.segments import segment_shares
from gilot_plugin.analysis.words import plain_word
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.records import RecordKey
from gilot_plugin.artifacts.typed import Record, chosen_method
from gilot_plugin.errors import ArtifactError, one_of
from gilot_plugin.statistics.families import ALPHA, Judgement, judge
from gilot_plugin.statistics.two_groups import MIN_GROUP, GroupTest, group_size_needed, group_tests

#: What samples may be grouped by, beside fields of their documents.
CORRECT, TASK = "correct", "task"

#: Kinds of what is compared, each a family of tests with an equal part of the rate of false discoveries.
Kind = Literal["part", "word", "flow"]
_KINDS: tuple[Kind, ...] = ("part", "word", "flow")

#: Words and flows that are tested: those in most samples, which does not depend on the groups.
_MOST = {"part": 100, "word": 200, "flow": 50}
_FEWEST_SAMPLES = 2 * MIN_GROUP

#: Values of a field that are compared with all others.
_MOST_VALUES = 12

_TYPICAL = 3


class Contrast(NamedTuple):
    """A part, word or flow in one group against all others.

    Attributes:
        group: The value that the group's samples have, e.g. ``"wrong"``.
        kind: What is compared.
        name: Of the part or word; of a flow both ends.
        test: Of the share of the attribution on it, or of the mass of the flow.
        q_value: Its p-value, adjusted for all tests of its kind; 1 where the samples are too few to tell.
        testable: Whether they are enough.
        typical: Samples of the group in which it carries most, of the others where it carries less.
    """

    group: str
    kind: Kind
    name: str
    test: GroupTest
    q_value: float
    testable: bool
    typical: tuple[RecordKey, ...]

    @property
    def is_finding(self) -> bool:
        """Whether the groups differ by more than chance."""
        return self.testable and self.q_value <= ALPHA


class Contrasts(NamedTuple):
    """All comparisons of a run.

    Attributes:
        by: What the samples are grouped by.
        method: Whose scores.
        groups: Number of samples of each value.
        left_out: Explained samples that have no score but 0, or are in no group.
        found: Findings first, then by effect.
        problem: Why nothing can be compared, in words; None if something can.
    """

    by: str
    method: str
    groups: Mapping[str, int]
    left_out: int
    found: tuple[Contrast, ...]
    problem: str | None


def contrasts(run: LoadedRun, *, by: str = CORRECT, method: str | None = None, seed: int = 0) -> Contrasts:
    """Compare groups of a run's explained samples, within their tasks.

    Args:
        run: See :func:`gilot_plugin.load_run`.
        by: ``"correct"``, ``"task"``, or a field of the documents, dots for nesting, whose values tell the
            groups; fields are read from the samples that lm-eval logged.
        method: Whose scores; by default ``ot``, or the first there is.
        seed: Of the shuffles.

    Raises:
        ArtifactError: The run has no such method, or its documents no such field.
    """
    method = chosen_method(run.records, method)
    records = [record for record in run.explained if any(record.scores.get(method, ()))]
    value_of = _values(run, by)
    grouped = [(record, value) for record in records if (value := value_of(record)) is not None]
    groups = dict(Counter(value for _, value in grouped).most_common())
    if by == CORRECT:
        groups = {name: groups.get(name, 0) for name in ("wrong", "right")}
    left_out = len(run.explained) - len(grouped)
    problem = _problem(groups, by)
    if problem is not None:
        return Contrasts(by, method, groups, left_out, (), problem)
    compared = ["wrong"] if by == CORRECT else list(groups)[:_MOST_VALUES]
    if len(groups) == 2:  # the other one says the same with the other sign
        compared = compared[:1]
    kept = [record for record, _ in grouped]
    found: list[Contrast] = []
    for kind in _KINDS:
        names, values = _features(kept, kind, method)
        found += _of_kind(kind, names, values, grouped, compared, stratified=by != TASK, seed=seed)
    order = sorted(found, key=lambda one: (not one.is_finding, -abs(one.test.effect_size or 0)))
    return Contrasts(by, method, groups, left_out, tuple(order), None)


def _of_kind(
    kind: Kind,
    names: Sequence[str],
    values: np.ndarray,
    grouped: Sequence[tuple[Record, str]],
    compared: Sequence[str],
    *,
    stratified: bool,
    seed: int,
) -> Iterator[Contrast]:
    strata = [record.task if stratified else "" for record, _ in grouped]
    many = len(names) * len(compared) * len(_KINDS)
    tested = [
        (group, name, test, values[:, place])
        for group in compared
        for place, (name, test) in enumerate(
            zip(
                names,
                group_tests(values, [value == group for _, value in grouped], strata, tests=many, seed=seed),
                strict=True,
            )
        )
    ]
    judged: list[Judgement] = judge(
        [test.p_value for _, _, test, _ in tested], [test.attainable for _, _, test, _ in tested], len(_KINDS)
    )
    for (group, name, test, column), judgement in zip(tested, judged, strict=True):
        more = test.difference > 0
        own = [place for place, (_, value) in enumerate(grouped) if (value == group) == more]
        typical = sorted(own, key=lambda place: -column[place])[:_TYPICAL]
        yield Contrast(
            group,
            kind,
            name,
            test,
            judgement.q_value,
            judgement.level is not None,
            tuple(grouped[place][0].key for place in typical if column[place] > 0),
        )


def _problem(groups: Mapping[str, int], by: str) -> str | None:
    if len(groups) < 2 or not all(groups.values()):
        there = ", ".join(f"{count} {name}" for name, count in groups.items()) or "none"
        return (
            f"the explained samples are not in two groups by {by} ({there}): explain both kinds, e.g. "
            "select={strategy: random, n: 40}, or {strategy: stratified, by: FIELD}"
        )
    largest = sorted(groups.values())[-1]
    rest = sum(groups.values()) - largest
    if rest < MIN_GROUP:
        return (
            f"only {rest} of {rest + largest} explained samples are in another group by {by}: it takes at "
            f"least {group_size_needed(1, len(_KINDS))} of each to tell anything from chance"
        )
    return None


def _values(run: LoadedRun, by: str) -> Callable[[Record], str | None]:
    if by == CORRECT:
        return lambda record: None if record.correct is None else ("right" if record.correct else "wrong")
    if by == TASK:
        return lambda record: record.task
    samples = run.sample_of
    if not samples:
        raise ArtifactError(
            f"{run.folder}: documents are read from the samples that lm-eval logs, and there are none: "
            "evaluate with --log_samples"
        )
    fields = {key: _field(sample.get("doc"), by) for key, sample in samples.items()}
    if all(value is None for value in fields.values()):
        known = {name for sample in samples.values() for name in _names(sample.get("doc"))}
        raise ArtifactError(f"--by {by}: the documents have no such field, they have {one_of(sorted(known))}")
    return lambda record: fields.get(record.key)


def _names(doc: Any) -> Iterator[str]:
    if isinstance(doc, Mapping):
        yield from map(str, doc)


def _field(doc: Any, path: str) -> str | None:
    value = doc
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _features(records: Sequence[Record], kind: Kind, method: str) -> tuple[list[str], np.ndarray]:
    """Names of what is tested, and a number a sample and name; 0 where a sample has it not."""
    rows = [_READERS[kind](record, method) for record in records]
    counts = Counter(name for row in rows for name in row)
    frequent = [name for name, count in counts.most_common(_MOST[kind]) if count >= _FEWEST_SAMPLES]
    if kind == "part" and len(frequent) < 2:  # prompts in one part have nothing to compare
        frequent = []
    values = np.array([[row.get(name, 0.0) for name in frequent] for row in rows], dtype=float)
    return frequent, values.reshape(len(rows), len(frequent))


def _words(record: Record, method: str) -> Mapping[str, float]:
    scores = record.scores[method]
    total = sum(map(abs, scores))
    found: dict[str, float] = {}
    for unit, score in zip(record.units, scores, strict=True):
        if word := plain_word(unit.text):
            found[word] = found.get(word, 0.0) + abs(score) / total
    return found


def _flows(record: Record, method: str) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for flow in record.total_flows:
        ends = (plain_word(text) or repr(text) for text in (flow.from_token, flow.to_token))
        name = " → ".join(ends)
        found[name] = found.get(name, 0.0) + flow.mass
    return found


_READERS: Mapping[Kind, Callable[[Record, str], Mapping[str, float]]] = {
    "part": segment_shares,
    "word": _words,
    "flow": _flows,
}


def contrast_lines(found: Contrasts) -> Iterator[str]:
    """What is shown, in words; and where nothing is, what it would take."""
    counts = ", ".join(f"{count} {name}" for name, count in found.groups.items())
    yield f"{sum(found.groups.values())} explained samples by {found.by}: {counts}; scores by {found.method}."
    if found.left_out:
        yield f"Left out: {found.left_out} without a score but 0, or in no group."
    if found.problem is not None:
        yield f"Nothing is compared: {found.problem}."
        return
    findings = [one for one in found.found if one.is_finding]
    for one in findings:
        yield f"{finding_words(one)}."
    if not findings:
        yield _nothing_words(found)


def finding_words(one: Contrast) -> str:
    """One finding."""
    more = "more" if one.test.difference > 0 else "less"
    against = f"{amount(one, one.test.mean)} against {amount(one, one.test.other)}"
    p_value = "adjusted p < 0.001" if one.q_value < 0.001 else f"adjusted p = {one.q_value:.2g}"
    what = {"part": "the part", "word": "the word", "flow": "the flow"}[one.kind]
    where = f"in {one.group} answers" if one.group in ("wrong", "right") else f"where it is {one.group!r}"
    return f"{what} {one.name!r} carries {more} {where}: {against} ({p_value})"


def amount(one: Contrast, value: float) -> str:
    """A share of the attribution in percent, or a mass."""
    return f"{value:.3f}" if one.kind == "flow" else f"{value:.1%}"


def _nothing_words(found: Contrasts) -> str:
    tested = len(found.found)
    if not tested:
        return f"Nothing is in {_FEWEST_SAMPLES} samples or more, so nothing is compared."
    able = sum(one.testable for one in found.found)
    if not able:
        return (
            f"Nothing can be told from chance: of {tested} parts, words and flows, each is in too few "
            f"samples. It takes {group_size_needed(tested, len(_KINDS))} of each group."
        )
    needed = [one.test.needed for one in found.found if one.test.needed is not None and one.testable]
    more = (
        f" The largest difference seen here would take some {min(needed):,} of each group." if needed else ""
    )
    return f"No part, word or flow is shown to differ between the groups ({able} of {tested} tested).{more}"
