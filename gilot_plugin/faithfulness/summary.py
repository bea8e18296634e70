"""From the curves of all samples to what may be said of the methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from gilot_plugin.artifacts.faithfulness import (
    ControlCurves,
    ControlResult,
    Interval,
    Measure,
    MethodCurves,
    MethodDifference,
)
from gilot_plugin.faithfulness.controls import (
    COMMON_CONTROLS,
    REVERSED,
    SampleRankings,
    by_measure,
    mean_curves,
    with_controls,
)
from gilot_plugin.faithfulness.curves import QUANTITIES, Curves, SampleCurves
from gilot_plugin.statistics import ALPHA, PairedTest, adjusted, bootstrap_interval, paired_test


@dataclass(frozen=True, eq=False)
class _Samples:
    """Samples of one quantity and absence.

    Attributes:
        quantity: Name of the quantity.
        absence: How units were taken away.
        rankings: One a sample.
    """

    quantity: str
    absence: str
    rankings: tuple[SampleRankings, ...]


@dataclass(frozen=True, eq=False)
class _Comparison:
    """One test.

    Attributes:
        place: Number of the quantity and absence.
        method: A method.
        other: A control, or another method.
        is_control: Which of the two the other is.
        test: Of the areas' differences.
    """

    place: int
    method: str
    other: str
    is_control: bool
    test: PairedTest


def summarize(
    curves: Iterable[SampleCurves], methods: Sequence[str], absences: Sequence[str], seed: int = 0
) -> tuple[Measure, ...]:
    """Compare methods with controls and with each other.

    Tests are two-sided, so that a method that is worse than its control is found as well and a claim to be
    better errs half as often. All tests of the summary are one family, adjusted by Benjamini and Hochberg.
    Below :data:`gilot_plugin.statistics.MIN_SAMPLES` samples there are no intervals and no claims.

    Args:
        curves: Of all samples, rankings and absences; the order of samples does not matter.
        methods: Attribution methods, in the order to show.
        absences: In the order to show.
        seed: Of the resampling.

    Returns:
        One a quantity and absence.
    """
    found = by_measure(curves)
    groups = [
        _Samples(
            quantity,
            absence,
            tuple(with_controls(of_sample) for _, of_sample in sorted(found[quantity, absence].items())),
        )
        for quantity in QUANTITIES
        for absence in absences
        if (quantity, absence) in found
    ]
    comparisons = [
        comparison
        for place, group in enumerate(groups)
        for comparison in _comparisons(place, group, methods, seed)
    ]
    p_values = adjusted([comparison.test.p_value for comparison in comparisons])
    judged = list(zip(comparisons, p_values, strict=True))
    return tuple(
        _measure(group, methods, [pair for pair in judged if pair[0].place == place], seed)
        for place, group in enumerate(groups)
    )


def _comparisons(place: int, group: _Samples, methods: Sequence[str], seed: int) -> Iterator[_Comparison]:
    for method in methods:
        for control in COMMON_CONTROLS:
            pairs = [
                (sample.methods[method], sample.controls[control.name])
                for sample in group.rankings
                if method in sample.methods and control.name in sample.controls
            ]
            if pairs:
                yield _Comparison(place, method, control.name, True, _test(pairs, seed))
        own = [sample.methods[method] for sample in group.rankings if method in sample.methods]
        if own:
            mirrored = [(curves, curves.mirrored) for curves in own]
            yield _Comparison(place, method, REVERSED.name, True, _test(mirrored, seed))
    for method, other in combinations(methods, 2):
        pairs = [
            (sample.methods[method], sample.methods[other])
            for sample in group.rankings
            if method in sample.methods and other in sample.methods
        ]
        if pairs:
            yield _Comparison(place, method, other, False, _test(pairs, seed))


def _test(pairs: Sequence[tuple[Curves, Curves]], seed: int) -> PairedTest:
    return paired_test(np.array([one.area - other.area for one, other in pairs]), seed=seed)


def _measure(
    group: _Samples, methods: Sequence[str], judged: Sequence[tuple[_Comparison, float]], seed: int
) -> Measure:
    by_method = {
        method: [sample.methods[method] for sample in group.rankings if method in sample.methods]
        for method in methods
    }
    by_control = {
        control.name: [
            sample.controls[control.name] for sample in group.rankings if control.name in sample.controls
        ]
        for control in COMMON_CONTROLS
    }
    return Measure(
        quantity=group.quantity,
        summary=QUANTITIES[group.quantity].summary,
        absence=group.absence,
        samples=len(group.rankings),
        methods=tuple(
            MethodCurves(
                method=method,
                samples=len(own),
                morf=mean_curves(own).morf,
                lerf=mean_curves(own).lerf,
                area=_interval(own, lambda curves: curves.area, seed),
                comprehensiveness=_interval(own, lambda curves: curves.comprehensiveness, seed),
                sufficiency=_interval(own, lambda curves: curves.sufficiency, seed),
                controls=tuple(
                    _control_result(comparison, p_value)
                    for comparison, p_value in judged
                    if comparison.is_control and comparison.method == method
                ),
            )
            for method, own in by_method.items()
            if own
        ),
        controls=tuple(
            ControlCurves(
                control=control,
                morf=mean_curves(own).morf,
                lerf=mean_curves(own).lerf,
                area=_interval(own, lambda curves: curves.area, seed),
            )
            for control, own in by_control.items()
            if own
        ),
        differences=tuple(
            _method_difference(comparison, p_value)
            for comparison, p_value in judged
            if not comparison.is_control
        ),
    )


def interval_of(values: Sequence[float], seed: int) -> Interval:
    """Mean of one number a sample, with its bootstrap interval."""
    numbers = np.asarray(values, dtype=float)
    low, high = bootstrap_interval(numbers, seed)
    return Interval(mean=float(np.mean(numbers)), low=low, high=high)


def _interval(own: Sequence[Curves], number: Callable[[Curves], float], seed: int) -> Interval:
    return interval_of([number(curves) for curves in own], seed)


def _control_result(comparison: _Comparison, p_value: float) -> ControlResult:
    return ControlResult(
        control=comparison.other,
        difference=_difference(comparison.test),
        p_value=p_value,
        beaten=_is_significant(comparison.test, p_value) and comparison.test.mean > 0,
    )


def _method_difference(comparison: _Comparison, p_value: float) -> MethodDifference:
    better = comparison.method if comparison.test.mean > 0 else comparison.other
    return MethodDifference(
        method=comparison.method,
        other=comparison.other,
        samples=comparison.test.pairs,
        difference=_difference(comparison.test),
        p_value=p_value,
        better=better if _is_significant(comparison.test, p_value) else None,
    )


def _difference(test: PairedTest) -> Interval:
    return Interval(mean=test.mean, low=test.low, high=test.high)


def _is_significant(test: PairedTest, p_value: float) -> bool:
    return p_value < ALPHA and test.low is not None


def mean_seconds(seconds: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each method's seconds over the samples that have them."""
    found: dict[str, list[float]] = {}
    for sample in seconds:
        for method, value in sample.items():
            found.setdefault(method, []).append(value)
    return {method: float(np.mean(values)) for method, values in found.items()}
