"""Strategies that look at what the model answered."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.extension.strategies import CountOptions, SelectionContext
from gilot_plugin.strategies.earlier import earlier_samples
from gilot_plugin.strategies.options import FlipOptions, MetricOptions
from gilot_plugin.strategies.ordering import by_task

#: Metrics that say right or wrong, in the order in which strategies look for them.
_CORRECTNESS_METRICS = ("acc", "exact_match", "acc_norm", "em", "pass@1", "prompt_level_strict_acc")


def incorrect(
    samples: Sequence[Sample], options: MetricOptions, context: SelectionContext
) -> list[ChosenSample]:
    """The first n that the model got wrong."""
    return _judged(samples, options, right=False)


def correct(
    samples: Sequence[Sample], options: MetricOptions, context: SelectionContext
) -> list[ChosenSample]:
    """The first n that the model got right."""
    return _judged(samples, options, right=True)


def _judged(samples: Sequence[Sample], options: MetricOptions, right: bool) -> list[ChosenSample]:
    found = []
    for sample in samples:
        metric = options.metric or _correctness_metric(sample.identity.metrics)
        if _is_right(sample, metric) == right:
            name = "correct" if right else "incorrect"
            found.append(ChosenSample(sample, f"{name}: {metric} is {int(right)}"))
    return found[: options.n]


def margin(samples: Sequence[Sample], options: CountOptions, context: SelectionContext) -> list[ChosenSample]:
    """Those whose best two choices are closest."""
    leads = []
    for sample in samples:
        kind = sample.identity.request_type
        if kind != "multiple_choice":
            raise ConfigError(
                f"select.strategy='margin': samples of type {kind!r} have no choices; take 'entropy'"
            )
        best, *others = sorted(context.choice_scores(sample), reverse=True)
        leads.append(best - others[0] if others else math.inf)
    what = "between the best two choices, of the lowest"
    return _extreme(samples, leads, options.n, lambda value: f"margin {value:.4g} {what}")


def entropy(
    samples: Sequence[Sample], options: CountOptions, context: SelectionContext
) -> list[ChosenSample]:
    """Those whose outcome is least certain."""
    values = context.outcome_entropies(samples)
    known = [(sample, value) for sample, value in zip(samples, values, strict=True) if value is not None]
    what = "nats of entropy of the outcome, of the highest"
    return _extreme(
        [sample for sample, _ in known],
        [-value for _, value in known],
        options.n,
        lambda value: f"{-value:.4g} {what}",
    )


def flips(samples: Sequence[Sample], options: FlipOptions, context: SelectionContext) -> list[ChosenSample]:
    """Those that went from right to wrong or back since an earlier run."""
    found = []
    paired = 0
    for task, own in by_task(samples).items():
        before = earlier_samples(Path(options.against), task)
        for sample in own:
            metric = options.metric or _correctness_metric(sample.identity.metrics)
            earlier = before.get((sample.identity.doc_hash, sample.identity.target_hash))
            if earlier is None:
                continue
            paired += 1
            was, now = _judgement(earlier, metric), _is_right(sample, metric)
            direction = "to_right" if now else "to_wrong"
            if was != now and options.direction in (direction, "both"):
                word = {True: "right", False: "wrong"}
                found.append(ChosenSample(sample, f"flipped from {word[was]} to {word[now]}: {metric}"))
    if samples and not paired:
        raise ConfigError(
            f"select.against={options.against!r}: none of its documents is among the {len(samples)} "
            "evaluated ones: give the samples of the same tasks"
        )
    return found[: options.n]


def _extreme(
    samples: Sequence[Sample], values: Sequence[float], count: int | None, reason: Callable[[float], str]
) -> list[ChosenSample]:
    """Samples with the lowest values, in document order."""
    ranked = sorted(range(len(samples)), key=lambda place: (values[place], place))[:count]
    return [
        ChosenSample(samples[place], f"{reason(values[place])} {len(ranked)}") for place in sorted(ranked)
    ]


def _is_right(sample: Sample, metric: str) -> bool:
    return _judgement(sample.identity.metrics, metric)


def _judgement(metrics: Mapping[str, Any], metric: str) -> bool:
    for key, value in metrics.items():
        if metric in (key, key.partition(",")[0]):
            if value not in (0, 1):
                raise ConfigError(
                    f"select.metric={metric!r}: its value {value!r} is neither 0 nor 1, so it does not say "
                    "right or wrong"
                )
            return bool(value)
    found = one_of(tuple(metrics))
    raise ConfigError(f"select.metric={metric!r}: the task has no such metric, it has {found}")


def _correctness_metric(metrics: Mapping[str, Any]) -> str:
    names = [key.partition(",")[0] for key in metrics]
    for metric in _CORRECTNESS_METRICS:
        if metric in names:
            return metric
    raise ConfigError(
        f"no metric of the task says right or wrong; name one of {one_of(tuple(metrics))} as select.metric"
    )
