"""Faithfulness in words and as a table, the same in the terminal and in cards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Column, Table

from gilot_plugin.artifacts.faithfulness import Faithfulness, Interval, Measure, MethodCurves, Randomization
from gilot_plugin.statistics import CONFIDENCE, MIN_PAIRS


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
        beaten = [control.control for control in curves.controls if control.beaten]
        missed = [control.control for control in curves.controls if not control.beaten]
        for pair in measure.differences:
            if curves.method in (pair.method, pair.other):
                other = pair.other if pair.method == curves.method else pair.method
                (beaten if pair.better == curves.method else missed).append(other)
        yield _sentence(curves.method, beaten, missed)


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
        if found.is_control:
            expected = "fails" if not found.passes else "passes"
            yield f"random weights: {found.method} (control) {expected}, correlation {words}."
        elif found.correlation.low is None:
            yield f"random weights: {found.method}: no claim from {found.samples} samples."
        else:
            verdict = (
                "depends on what the model learnt"
                if found.passes
                else "is not shown to depend on what the model learnt"
            )
            yield f"random weights: {found.method} {verdict}, correlation {words}."


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them: ``a, b and c``."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def interval_words(interval: Interval, form: str = ".3f") -> str:
    """The mean, with its interval if there is one."""
    if interval.low is None or interval.high is None:
        return f"{interval.mean:{form}}"
    return f"{interval.mean:{form}} ({interval.low:{form}} to {interval.high:{form}})"


def measure_table(found: Faithfulness, measure: Measure) -> Table:
    """One row a method, the best area first, then the controls."""
    table = Table(
        Column("ranking"),
        Column(f"area ({CONFIDENCE:.0%} interval)", justify="right"),
        Column("compreh.", justify="right"),
        Column("suffic.", justify="right"),
        Column("controls beaten"),
        Column("s a sample", justify="right"),
        title=escape(f"{measure.title}: {measure.summary} ({measure.samples} samples)"),
        title_justify="left",
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
            "" if seconds is None else f"{seconds:.2g}",
        )
    table.add_section()
    for control in measure.controls:
        table.add_row(f"control: {control.control}", interval_words(control.area))
    return table
