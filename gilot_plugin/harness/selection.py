"""Built-in plugin: which samples of a task are explained."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.harness.samples import Choice, Sample
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins import selection_strategies

if TYPE_CHECKING:
    from gilot_plugin.harness.run import EvaluationRun

#: Metrics that say right or wrong, in the order in which ``incorrect`` looks for them.
_CORRECTNESS_METRICS = ("acc", "exact_match", "acc_norm", "em", "pass@1", "prompt_level_strict_acc")


class Options(BaseModel):
    """Base of the options of a strategy; a wrong or unknown option is refused with its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class SelectionStrategy:
    """A way to choose samples.

    Attributes:
        name: Value of ``select.strategy``.
        summary: One line for ``gilot methods``.
        options: Model of the other keys of ``select``.
        choose: ``(samples, options, seed) -> choices``; samples in document order.
    """

    name: str
    summary: str
    options: type[Options]
    choose: Callable[[Sequence[Sample], Any, int], Sequence[Choice]]


class CountOptions(Options):
    """Options of strategies that take a number of samples."""

    n: int = Field(10, ge=1, strict=True)


_DocId = Annotated[int, Field(ge=0, strict=True)]


class IdOptions(Options):
    """Options of ``ids``: lm-eval's document numbers, for every task or by task name."""

    ids: list[_DocId] | dict[str, list[_DocId]]


class IncorrectOptions(CountOptions):
    """Options of ``incorrect``: the metric that decides, ``"metric"`` or ``"metric,filter"``."""

    metric: str | None = None


def _first(samples: Sequence[Sample], options: CountOptions, seed: int) -> list[Choice]:
    return _choices(samples[: options.n], f"among the first {options.n}")


def _ids(samples: Sequence[Sample], options: IdOptions, seed: int) -> list[Choice]:
    wanted = options.ids
    if isinstance(wanted, dict):
        wanted = wanted.get(samples[0].identity.task, []) if samples else []
    known = {sample.identity.doc_id: sample for sample in samples}
    missing = [doc_id for doc_id in wanted if doc_id not in known]
    if missing:
        raise ConfigError(
            f"select.ids={missing}: not among the {len(samples)} evaluated documents (doc_id "
            f"{min(known, default='-')} to {max(known, default='-')})"
        )
    return _choices([known[doc_id] for doc_id in sorted(set(wanted))], "named by its id")


def _random(samples: Sequence[Sample], options: CountOptions, seed: int) -> list[Choice]:
    drawn = sorted(random.Random(seed).sample(range(len(samples)), min(options.n, len(samples))))
    return _choices([samples[index] for index in drawn], f"drawn at random with seed {seed}")


def _incorrect(samples: Sequence[Sample], options: IncorrectOptions, seed: int) -> list[Choice]:
    if not samples:
        return []
    metric = options.metric or _correctness_metric(samples[0].identity.metrics)
    wrong = []
    for sample in samples:
        try:
            value = sample.metric(metric)
        except KeyError:
            found = one_of(tuple(sample.identity.metrics))
            raise ConfigError(
                f"select.metric={metric!r}: the task has no such metric, it has {found}"
            ) from None
        if value not in (0, 1):
            raise ConfigError(
                f"select.metric={metric!r}: its value {value!r} is neither 0 nor 1, so it does not say right "
                "or wrong"
            )
        if value == 0:
            wrong.append(sample)
    return _choices(wrong[: options.n], f"incorrect: {metric} is 0")


def _correctness_metric(metrics: Mapping[str, Any]) -> str:
    names = [key.partition(",")[0] for key in metrics]
    for metric in _CORRECTNESS_METRICS:
        if metric in names:
            return metric
    raise ConfigError(
        "select.strategy='incorrect': no metric of the task says right or wrong; name one of "
        f"{one_of(tuple(metrics))} as select.metric"
    )


def _choices(samples: Sequence[Sample], reason: str) -> list[Choice]:
    return [Choice(sample, reason) for sample in samples]


@hookimpl
def gilot_selection_strategies() -> tuple[SelectionStrategy, ...]:
    """The strategies that come with the package."""
    return (
        SelectionStrategy("first", "the first n documents", CountOptions, _first),
        SelectionStrategy("ids", "the documents with the given ids", IdOptions, _ids),
        SelectionStrategy("random", "n documents at random, by the seed", CountOptions, _random),
        SelectionStrategy(
            "incorrect", "the first n documents that the model got wrong", IncorrectOptions, _incorrect
        ),
    )


@hookimpl
def gilot_select_samples(run: EvaluationRun, task: str, samples: Sequence[Sample]) -> Sequence[Choice]:
    """Choose by the task's settings."""
    config = run.tasks[task].config
    strategy = selection_strategies()[config.select["strategy"]]
    return strategy.choose(samples, strategy.options.model_validate(config.select_options), config.seed)
