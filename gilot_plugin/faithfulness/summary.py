"""From the curves of all samples to what may be said of the methods."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from gilot_plugin.artifacts.faithfulness import (
    ControlCurves,
    ControlResult,
    MeanInterval,
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
from gilot_plugin.statistics.families import ALPHA, judge
from gilot_plugin.statistics.intervals import mean_interval
from gilot_plugin.statistics.paired import PairedTest, paired_tests


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
        differences: Of the areas, one a sample.
    """

    place: int
    method: str
    other: str
    is_control: bool
    differences: np.ndarray


@dataclass(frozen=True, eq=False)
class _Judged:
    """A comparison, its test, and the p-value that is adjusted for all comparisons."""

    comparison: _Comparison
    test: PairedTest
    p_value: float

    @property
    def is_significant(self) -> bool:
        """Whether the two differ by more than chance."""
        return self.p_value <= ALPHA


def summarize(
    curves: Iterable[SampleCurves], methods: Sequence[str], absences: Sequence[str], seed: int = 0
) -> tuple[Measure, ...]:
    """Compare methods with controls and with each other.

    Tests are two-sided, so that a method that is worse than its control is found as well and a claim to be
    better errs half as often. All tests of the summary are one family, see
    :func:`gilot_plugin.statistics.families.judge`: of few samples nothing is claimed.

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
        comparison for place, group in enumerate(groups) for comparison in _comparisons(place, group, methods)
    ]
    tests = paired_tests([comparison.differences for comparison in comparisons], seed=seed)
    judgements = judge([test.p_value for test in tests], [test.attainable for test in tests])
    judged = [
        _Judged(comparison, test, judgement.q_value)
        for comparison, test, judgement in zip(comparisons, tests, judgements, strict=True)
    ]
    return tuple(
        _measure(group, methods, [found for found in judged if found.comparison.place == place])
        for place, group in enumerate(groups)
    )


def _comparisons(place: int, group: _Samples, methods: Sequence[str]) -> Iterator[_Comparison]:
    for method in methods:
        for control in COMMON_CONTROLS:
            pairs = [
                (sample.methods[method], sample.controls[control.name])
                for sample in group.rankings
                if method in sample.methods and control.name in sample.controls
            ]
            if pairs:
                yield _Comparison(place, method, control.name, True, _differences(pairs))
        own = [sample.methods[method] for sample in group.rankings if method in sample.methods]
        if own:
            mirrored = [(curves, curves.mirrored) for curves in own]
            yield _Comparison(place, method, REVERSED.name, True, _differences(mirrored))
    for method, other in combinations(methods, 2):
        pairs = [
            (sample.methods[method], sample.methods[other])
            for sample in group.rankings
            if method in sample.methods and other in sample.methods
        ]
        if pairs:
            yield _Comparison(place, method, other, False, _differences(pairs))


def _differences(pairs: Sequence[tuple[Curves, Curves]]) -> np.ndarray:
    return np.array([one.area - other.area for one, other in pairs])


def _measure(group: _Samples, methods: Sequence[str], judged: Sequence[_Judged]) -> Measure:
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
                area=_interval(own, lambda curves: curves.area),
                comprehensiveness=_interval(own, lambda curves: curves.comprehensiveness),
                sufficiency=_interval(own, lambda curves: curves.sufficiency),
                controls=tuple(
                    _control_result(found)
                    for found in judged
                    if found.comparison.is_control and found.comparison.method == method
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
                area=_interval(own, lambda curves: curves.area),
            )
            for control, own in by_control.items()
            if own
        ),
        differences=tuple(_method_difference(found) for found in judged if not found.comparison.is_control),
    )


def interval_of(values: Sequence[float] | np.ndarray) -> MeanInterval:
    """Mean of one number a sample, with its interval."""
    numbers = np.asarray(values, dtype=float)
    low, high = mean_interval(numbers)
    return MeanInterval(mean=float(np.mean(numbers)), low=low, high=high)


def _interval(own: Sequence[Curves], number: Callable[[Curves], float]) -> MeanInterval:
    return interval_of([number(curves) for curves in own])


def _control_result(found: _Judged) -> ControlResult:
    return ControlResult(
        control=found.comparison.other,
        difference=_difference(found.test),
        p_value=found.p_value,
        beaten=found.is_significant and found.test.mean > 0,
    )


def _method_difference(found: _Judged) -> MethodDifference:
    comparison = found.comparison
    better = comparison.method if found.test.mean > 0 else comparison.other
    return MethodDifference(
        method=comparison.method,
        other=comparison.other,
        samples=found.test.pairs,
        difference=_difference(found.test),
        p_value=found.p_value,
        better=better if found.is_significant else None,
    )


def _difference(test: PairedTest) -> MeanInterval:
    return MeanInterval(mean=test.mean, low=test.low, high=test.high)


def mean_seconds(seconds: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each method's seconds over the samples that have them."""
    found: dict[str, list[float]] = {}
    for sample in seconds:
        for method, value in sample.items():
            found.setdefault(method, []).append(value)
    return {method: float(np.mean(values)) for method, values in found.items()}
