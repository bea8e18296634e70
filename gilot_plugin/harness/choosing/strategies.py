"""The ways to choose samples that come with the package."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.harness.asking.likelihoods import choice_scores, margin
from gilot_plugin.harness.choosing.earlier import earlier_samples
from gilot_plugin.harness.choosing.functions import is_place, load_function
from gilot_plugin.harness.choosing.samples import Choice, Sample
from gilot_plugin.harness.choosing.selecting import SelectionContext, SelectionStrategy, choose
from gilot_plugin.settings.selection import CountOptions, Options, checked_selection

#: Metrics that say right or wrong, in the order in which strategies look for them.
_CORRECTNESS_METRICS = ("acc", "exact_match", "acc_norm", "em", "pass@1", "prompt_level_strict_acc")

_DocId = Annotated[int, Field(ge=0, strict=True)]


class IdOptions(Options):
    """Options of ``ids``: lm-eval's document numbers, for every task or by task name."""

    ids: list[_DocId] | dict[str, list[_DocId]]


class MetricOptions(CountOptions):
    """Options of strategies that look at a metric, ``"metric"`` or ``"metric,filter"``."""

    metric: str | None = None


class FlipOptions(MetricOptions):
    """Options of ``flips``: what lm-eval logged of an earlier run, and which way the samples went since."""

    against: str = Field(min_length=1)
    direction: Literal["to_wrong", "to_right", "both"] = "both"

    @field_validator("against")
    @classmethod
    def _exists(cls, value: str) -> str:
        if not Path(value).exists():
            raise ValueError("there is no such file or folder")
        return value


class StratumOptions(CountOptions):
    """Options of ``stratified``: a field of the documents, dots for nesting; ``n`` for each of its values."""

    by: str = Field(min_length=1)
    n: int | None = Field(2, ge=1, strict=True)


class FunctionOptions(CountOptions):
    """Options of ``function``: where it is, ``"package.module:name"``."""

    function: str

    @field_validator("function")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        # Settings come from task files, too, and checking them must not run what they name.
        if not is_place(value):
            raise ValueError("write package.module:name")
        return value


class CombinedOptions(Options):
    """Options of ``union`` and ``chain``: other selections."""

    of: list[Any] = Field(min_length=1)

    @field_validator("of")
    @classmethod
    def _known(cls, value: list[Any]) -> list[dict[str, Any]]:
        checked = [checked_selection(one) for one in value]
        if any(one["over"] != "task" for one in checked):
            raise ValueError("'over' is for the selection as a whole, not for its parts")
        return [{key: option for key, option in one.items() if key != "over"} for one in checked]


def _first(samples: Sequence[Sample], options: CountOptions, context: SelectionContext) -> list[Choice]:
    reason = "all documents" if options.n is None else f"among the first {options.n}"
    return [Choice(sample, reason) for sample in samples[: options.n]]


def _ids(samples: Sequence[Sample], options: IdOptions, context: SelectionContext) -> list[Choice]:
    chosen = []
    for task, own in _by_task(samples).items():
        wanted = options.ids.get(task, []) if isinstance(options.ids, dict) else options.ids
        known = {sample.identity.doc_id: sample for sample in own}
        if missing := [doc_id for doc_id in wanted if doc_id not in known]:
            raise ConfigError(
                f"select.ids={missing}: not among the {len(own)} evaluated documents (doc_id "
                f"{min(known, default='-')} to {max(known, default='-')})"
            )
        chosen += [Choice(known[doc_id], "named by its id") for doc_id in sorted(set(wanted))]
    return chosen


def _random(samples: Sequence[Sample], options: CountOptions, context: SelectionContext) -> list[Choice]:
    drawn = _drawn(samples, options.n, context.seed)
    return [Choice(sample, f"drawn at random with seed {context.seed}") for sample in drawn]


def _incorrect(samples: Sequence[Sample], options: MetricOptions, context: SelectionContext) -> list[Choice]:
    return _judged(samples, options, right=False)


def _correct(samples: Sequence[Sample], options: MetricOptions, context: SelectionContext) -> list[Choice]:
    return _judged(samples, options, right=True)


def _judged(samples: Sequence[Sample], options: MetricOptions, right: bool) -> list[Choice]:
    found = []
    for sample in samples:
        metric = options.metric or _correctness_metric(sample.identity.metrics)
        if _is_right(sample, metric) == right:
            name = "correct" if right else "incorrect"
            found.append(Choice(sample, f"{name}: {metric} is {int(right)}"))
    return found[: options.n]


def _margin(samples: Sequence[Sample], options: CountOptions, context: SelectionContext) -> list[Choice]:
    leads = []
    for sample in samples:
        task = context.task_of(sample)
        if task.output_type != "multiple_choice":
            raise ConfigError(
                f"select.strategy='margin': samples of type {task.output_type!r} have no choices; take "
                "'entropy'"
            )
        leads.append(margin(choice_scores(task, sample)))
    what = "between the best two choices, of the lowest"
    return _extreme(samples, leads, options.n, lambda value: f"margin {value:.4g} {what}")


def _entropy(samples: Sequence[Sample], options: CountOptions, context: SelectionContext) -> list[Choice]:
    values = context.outcome_entropies(samples)
    known = [(sample, value) for sample, value in zip(samples, values, strict=True) if value is not None]
    what = "nats of entropy of the outcome, of the highest"
    return _extreme(
        [sample for sample, _ in known],
        [-value for _, value in known],
        options.n,
        lambda value: f"{-value:.4g} {what}",
    )


def _flips(samples: Sequence[Sample], options: FlipOptions, context: SelectionContext) -> list[Choice]:
    found = []
    paired = 0
    for task, own in _by_task(samples).items():
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
                found.append(Choice(sample, f"flipped from {word[was]} to {word[now]}: {metric}"))
    if samples and not paired:
        raise ConfigError(
            f"select.against={options.against!r}: none of its documents is among the {len(samples)} "
            "evaluated ones: give the samples of the same tasks"
        )
    return found[: options.n]


def _stratified(
    samples: Sequence[Sample], options: StratumOptions, context: SelectionContext
) -> list[Choice]:
    strata: dict[str, list[Sample]] = {}
    for sample in samples:
        strata.setdefault(str(_field(sample, options.by)), []).append(sample)
    chosen = []
    for value, own in sorted(strata.items()):
        reason = f"drawn at random with seed {context.seed} where {options.by} is {value!r}"
        chosen += [Choice(sample, reason) for sample in _drawn(own, options.n, context.seed)]
    return _in_order(samples, chosen)


def _function(samples: Sequence[Sample], options: FunctionOptions, context: SelectionContext) -> list[Choice]:
    known = {id(sample): sample for sample in samples}
    numbers: dict[Any, Sample] = {sample.identity.doc_id: sample for sample in samples}
    chosen = []
    for given in load_function(options.function)(samples):
        choice = given if isinstance(given, Choice) else Choice(given, f"chosen by {options.function}")
        if isinstance(choice.sample, int) and len(numbers) == len(samples):
            choice = Choice(numbers.get(choice.sample, choice.sample), choice.reason)
        if id(choice.sample) not in known:
            raise ConfigError(
                f"select.function={options.function!r}: it returned {given!r}; allowed are the samples that "
                "it was given, their doc_id where one task is chosen from, and Choice(sample, reason)"
            )
        chosen.append(choice)
    return chosen[: options.n]


def _union(samples: Sequence[Sample], options: CombinedOptions, context: SelectionContext) -> list[Choice]:
    reasons: dict[int, list[Choice]] = {}
    for one in options.of:
        for choice in choose(one, samples, context):
            reasons.setdefault(id(choice.sample), []).append(choice)
    return _in_order(
        samples,
        [Choice(group[0].sample, "; ".join(choice.reason for choice in group)) for group in reasons.values()],
    )


def _chain(samples: Sequence[Sample], options: CombinedOptions, context: SelectionContext) -> list[Choice]:
    left = [Choice(sample, "") for sample in samples]
    for one in options.of:
        before = {id(choice.sample): choice.reason for choice in left}
        left = [
            Choice(choice.sample, ", then ".join(filter(None, (before[id(choice.sample)], choice.reason))))
            for choice in choose(one, [choice.sample for choice in left], context)
        ]
    return left


def _extreme(
    samples: Sequence[Sample], values: Sequence[float], count: int | None, reason: Callable[[float], str]
) -> list[Choice]:
    """Samples with the lowest values, in document order."""
    ranked = sorted(range(len(samples)), key=lambda place: (values[place], place))[:count]
    return [Choice(samples[place], f"{reason(values[place])} {len(ranked)}") for place in sorted(ranked)]


def _drawn(samples: Sequence[Sample], count: int | None, seed: int) -> list[Sample]:
    size = len(samples) if count is None else min(count, len(samples))
    places = random.Random(seed).sample(range(len(samples)), size)
    return [samples[place] for place in sorted(places)]


def _in_order(samples: Sequence[Sample], choices: Sequence[Choice]) -> list[Choice]:
    places = {id(sample): place for place, sample in enumerate(samples)}
    return sorted(choices, key=lambda choice: places[id(choice.sample)])


def _by_task(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.identity.task, []).append(sample)
    return found


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


def _field(sample: Sample, path: str) -> Any:
    value: Any = sample.doc
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            has = one_of(tuple(map(str, value))) if isinstance(value, Mapping) else "none"
            raise ConfigError(
                f"select.by={path!r}: document {sample.identity.doc_id} has no such field, it has {has}"
            )
        value = value[name]
    return value


#: In the order of ``gilot methods``.
STRATEGIES = (
    SelectionStrategy("first", "the first n documents", CountOptions, _first),
    SelectionStrategy("ids", "the documents with the given ids", IdOptions, _ids),
    SelectionStrategy("random", "n documents at random, by the seed", CountOptions, _random),
    SelectionStrategy(
        "incorrect", "the first n documents that the model got wrong", MetricOptions, _incorrect
    ),
    SelectionStrategy("correct", "the first n documents that the model got right", MetricOptions, _correct),
    SelectionStrategy(
        "margin", "n documents whose best two choices are closest, for multiple choice", CountOptions, _margin
    ),
    SelectionStrategy("entropy", "n documents whose outcome is least certain", CountOptions, _entropy),
    SelectionStrategy(
        "flips",
        "documents that were right and are wrong, or the other way, since an earlier run",
        FlipOptions,
        _flips,
    ),
    SelectionStrategy(
        "stratified", "n documents at random for each value of a field of theirs", StratumOptions, _stratified
    ),
    SelectionStrategy("function", "what a Python function chooses", FunctionOptions, _function),
    SelectionStrategy("union", "what any of several strategies chooses", CombinedOptions, _union),
    SelectionStrategy(
        "chain", "each strategy chooses among what the one before it chose", CombinedOptions, _chain
    ),
)
