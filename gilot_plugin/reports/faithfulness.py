"""Faithfulness in words and as a table, the same in the terminal and in cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from gilot_plugin.artifacts.faithfulness import (
    Faithfulness,
    MeanInterval,
    Measure,
    MethodCurves,
    Randomization,
    Resemblance,
)
from gilot_plugin.statistics.families import samples_needed
from gilot_plugin.statistics.intervals import CONFIDENCE


def verdict_lines(found: Faithfulness) -> Iterator[str]:
    """Plain sentences: what each method beats, quantity by quantity."""
    for measure in found.measures:
        yield from (f"{measure.title}: {line}" for line in measure_lines(measure, found.comparisons))
    if found.randomization is not None:
        yield from randomization_lines(found.randomization)


def measure_lines(measure: Measure, comparisons: int) -> Iterator[str]:
    """One sentence a method.

    Args:
        measure: The measure.
        comparisons: Number of comparisons in the file, for which p-values are adjusted.
    """
    for curves in measure.methods:
        sentence = _Sentence([], [], [])
        for control in curves.controls:
            name = _control_name(control.control, measure)
            sentence.put(name, 1 if control.beaten else -1 if control.beats else 0)
        for pair in measure.differences:
            if curves.method in (pair.method, pair.other):
                other = pair.other if pair.method == curves.method else pair.method
                sentence.put(other, {None: 0, curves.method: 1}.get(pair.better, -1))
        needed = samples_needed(comparisons)
        if not sentence.beaten and not sentence.stronger and curves.samples < needed:
            yield (
                f"{curves.method}: no claim from {curves.samples} samples; with {comparisons} comparisons, "
                f"{needed} are needed."
            )
        else:
            yield sentence.of(curves.method)


class _Sentence(NamedTuple):
    """What a method beats, what beats it, and what it is not told apart from."""

    beaten: list[str]
    stronger: list[str]
    equal: list[str]

    def put(self, name: str, outcome: int) -> None:
        """Add one: 1 for beaten, -1 for stronger, 0 for neither."""
        {1: self.beaten, -1: self.stronger, 0: self.equal}[outcome].append(name)

    def of(self, method: str) -> str:
        """The sentence."""
        parts = [f"beats {listed(self.beaten)}"] if self.beaten else []
        parts += [f"is beaten by {listed(self.stronger)}"] if self.stronger else []
        parts += [f"is not shown to differ from {listed(self.equal)}"] if self.equal else []
        return f"{method} {'; '.join(parts)}." if parts else f"{method} was compared with nothing."


def _control_name(control: str, measure: Measure) -> str:
    """The name, told from that of a method that is called alike."""
    is_taken = any(curves.method == control for curves in measure.methods)
    return f"{control} (control)" if is_taken else control


def claim_line(curves: MethodCurves) -> str:
    """The claim that a method's curves support, or why there is none."""
    if curves.is_finding:
        return f"{curves.method} ranks words better than every control."
    stronger = [control.control for control in curves.controls if control.beats]
    missed = [control.control for control in curves.controls if not control.beaten and not control.beats]
    why = [f"it is beaten by {listed(stronger)}"] if stronger else []
    why += [f"it does not beat {listed(missed)}"] if missed else []
    return f"{curves.method}: no claim, because {' and '.join(why) or 'it was held against no control'}."


def randomization_lines(test: Randomization) -> Iterator[str]:
    """What the model-randomisation test says."""
    methods = sum(not found.is_control for found in test.methods)
    for found in test.methods:
        words = interval_words(found.correlation, ".2f")
        name = f"{found.method} (control)" if found.is_control else found.method
        needed = samples_needed(methods, one_sided=True)
        if not found.passes and found.samples < needed:
            yield f"random weights: {name}: no claim from {found.samples} samples, {needed} are needed."
        else:
            verdict = (
                "depends on what the model learnt"
                if found.passes
                else "is not shown to depend on what the model learnt"
            )
            yield f"random weights: {name} {verdict}, correlation {words}{_apart_from_order(found)}."


def _apart_from_order(found: Resemblance) -> str:
    if found.apart_from_order is None:
        return ""
    return f"; apart from the order of the prompt {interval_words(found.apart_from_order, '.2f')}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def interval_words(interval: MeanInterval, form: str = ".3f") -> str:
    """The mean, with its interval if there is one."""
    if interval.low is None or interval.high is None:
        return f"{interval.mean:{form}}"
    return f"{interval.mean:{form}} ({interval.low:{form}} to {interval.high:{form}})"


#: What the columns of :func:`measure_table` are.
LEGEND = (
    f"area: between the curves, with its {CONFIDENCE:.0%} interval; compr.: comprehensiveness, high is good; "
    "suff.: sufficiency, low is good; beats: how many of the controls, whose areas are in the last rows; "
    "s: seconds a sample."
)


def measure_heading(measure: Measure) -> str:
    """What a table is about."""
    return f"{measure.title} ({measure.samples} samples): {measure.summary}"


def measure_table(found: Faithfulness, measure: Measure) -> Table:
    """One row a method, the best area first, then the controls."""
    # Names that are cut short would look alike.
    table = Table(
        Column("ranking", overflow="fold", min_width=16),
        Column("area", justify="right", min_width=25),
        Column("compr.", justify="right"),
        Column("suff.", justify="right"),
        Column("beats"),
        Column("s", justify="right"),
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for curves in sorted(measure.methods, key=lambda curves: -curves.area.mean):
        beaten = sum(control.beaten for control in curves.controls)
        seconds = found.seconds.get(curves.method)
        table.add_row(
            escape(curves.method),
            interval_words(curves.area),
            f"{curves.comprehensiveness.mean:.3f}",
            f"{curves.sufficiency.mean:.3f}",
            f"{beaten} of {len(curves.controls)}",
            "" if seconds is None else f"{seconds:.1f}",
        )
    table.add_section()
    for control in measure.controls:
        table.add_row(control.control, interval_words(control.area))
    return table
