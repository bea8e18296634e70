"""Strategies that do not look at what the model answered."""

from __future__ import annotations

import random as draws
from collections.abc import Mapping, Sequence
from typing import Any

from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.extension.strategies import CountOptions, SelectionContext
from gilot_plugin.strategies.functions import load_function
from gilot_plugin.strategies.options import FunctionOptions, IdOptions, StratumOptions
from gilot_plugin.strategies.ordering import by_task, in_order


def first(samples: Sequence[Sample], options: CountOptions, context: SelectionContext) -> list[ChosenSample]:
    """The first n."""
    reason = "all documents" if options.n is None else f"among the first {options.n}"
    return [ChosenSample(sample, reason) for sample in samples[: options.n]]


def ids(samples: Sequence[Sample], options: IdOptions, context: SelectionContext) -> list[ChosenSample]:
    """Those with the given ids."""
    chosen = []
    for task, own in by_task(samples).items():
        wanted = options.ids.get(task, []) if isinstance(options.ids, dict) else options.ids
        known = {sample.identity.doc_id: sample for sample in own}
        if missing := [doc_id for doc_id in wanted if doc_id not in known]:
            raise ConfigError(
                f"select.ids={missing}: not among the {len(own)} evaluated documents (doc_id "
                f"{min(known, default='-')} to {max(known, default='-')})"
            )
        chosen += [ChosenSample(known[doc_id], "named by its id") for doc_id in sorted(set(wanted))]
    return chosen


def random(samples: Sequence[Sample], options: CountOptions, context: SelectionContext) -> list[ChosenSample]:
    """Some at random, by the seed."""
    drawn = _drawn(samples, options.n, context.seed)
    return [ChosenSample(sample, f"drawn at random with seed {context.seed}") for sample in drawn]


def stratified(
    samples: Sequence[Sample], options: StratumOptions, context: SelectionContext
) -> list[ChosenSample]:
    """Some at random for each value of a field of the documents."""
    strata: dict[str, list[Sample]] = {}
    for sample in samples:
        strata.setdefault(str(_field(sample, options.by)), []).append(sample)
    chosen = []
    for value, own in sorted(strata.items()):
        reason = f"drawn at random with seed {context.seed} where {options.by} is {value!r}"
        chosen += [ChosenSample(sample, reason) for sample in _drawn(own, options.n, context.seed)]
    return in_order(samples, chosen)


def function(
    samples: Sequence[Sample], options: FunctionOptions, context: SelectionContext
) -> list[ChosenSample]:
    """What a function of the user returns."""
    known = {id(sample): sample for sample in samples}
    numbers: dict[Any, Sample] = {sample.identity.doc_id: sample for sample in samples}
    chosen = []
    for given in load_function(options.function)(samples):
        by_itself = ChosenSample(given, f"chosen by {options.function}")
        one = given if isinstance(given, ChosenSample) else by_itself
        if isinstance(one.sample, int) and len(numbers) == len(samples):
            one = ChosenSample(numbers.get(one.sample, one.sample), one.reason)
        if id(one.sample) not in known:
            raise ConfigError(
                f"select.function={options.function!r}: it returned {given!r}; allowed are the samples that "
                "it was given, their doc_id where one task is chosen from, and ChosenSample(sample, reason)"
            )
        chosen.append(one)
    return chosen[: options.n]


def _drawn(samples: Sequence[Sample], count: int | None, seed: int) -> list[Sample]:
    size = len(samples) if count is None else min(count, len(samples))
    places = draws.Random(seed).sample(range(len(samples)), size)
    return [samples[place] for place in sorted(places)]


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
