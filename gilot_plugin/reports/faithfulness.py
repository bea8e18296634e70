"""Faithfulness in words and as a table, the same in the terminal and in cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from gilot_plugin.artifacts.faithfulness import (
    Faithfulness,
    Interval,
    Measure,
    MethodCurves,
    Randomization,
    Resemblance,
)
from gilot_plugin.statistics import CONFIDENCE, MIN_PAIRS, MIN_SAMPLES


def verdict_lines(found: Faithfulness) -> Iterator[str]:
    """Plain sentences: what each method beats, quantity by quantity."""
    for measure in found.measures:
        yield from (f"{measure.title}: {line}" for line in measure_lines(measure))
    if found.randomization is not None:
        yield from randomization_lines(found.randomization)


def measure_lines(measure: Measure) -> Iterator[str]:
    """One sentence a method."""
    for curves in measure.methods:
        if curves.samples < MIN_PAIRS:
            yield f"{curves.method}: no claim from {curves.samples} samples, {MIN_PAIRS} are needed."
            continue
        beaten = [_control_name(one.control, measure) for one in curves.controls if one.beaten]
        missed = [_control_name(one.control, measure) for one in curves.controls if not one.beaten]
        for pair in measure.differences:
            if curves.method in (pair.method, pair.other):
                other = pair.other if pair.method == curves.method else pair.method
                (beaten if pair.better == curves.method else missed).append(other)
        yield _sentence(curves.method, beaten, missed)


def _control_name(control: str, measure: Measure) -> str:
    """The name, told from that of a method that is called alike."""
    is_taken = any(curves.method == control for curves in measure.methods)
    return f"{control} (control)" if is_taken else control


def _sentence(method: str, beaten: Sequence[str], missed: Sequence[str]) -> str:
    parts = [f"beats {listed(beaten)}"] if beaten else []
    if missed:
        parts.append(f"does not beat {listed(missed)}")
    return f"{method} {'; '.join(parts)}." if parts else f"{method} was compared with nothing."


def claim_line(curves: MethodCurves) -> str:
    """The claim that a method's curves support, or why there is none."""
    if curves.is_finding:
        return f"{curves.method} ranks words better than every control."
    missed = [control.control for control in curves.controls if not control.beaten]
    why = f"it does not beat {listed(missed)}" if missed else "it was held against no control"
    return f"{curves.method}: no claim, because {why}."


def randomization_lines(test: Randomization) -> Iterator[str]:
    """What the model-randomisation test says."""
    for found in test.methods:
        words = interval_words(found.correlation, ".2f")
        name = f"{found.method} (control)" if found.is_control else found.method
        if found.correlation.low is None:
            yield f"random weights: {name}: no claim from {found.samples} samples, {MIN_SAMPLES} are needed."
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


def interval_words(interval: Interval, form: str = ".3f") -> str:
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
