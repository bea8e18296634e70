"""Built-in plugin: the ways to choose samples that come with the package."""

from __future__ import annotations

from gilot_plugin.extension.strategies import CountOptions, SelectionStrategy
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.strategies.by_answer import correct, entropy, flips, incorrect, margin
from gilot_plugin.strategies.by_place import first, function, ids, random, stratified
from gilot_plugin.strategies.combined import CombinedOptions, chain, union
from gilot_plugin.strategies.options import (
    FlipOptions,
    FunctionOptions,
    IdOptions,
    MetricOptions,
    StratumOptions,
)

#: In the order of ``gilot methods``.
STRATEGIES = (
    SelectionStrategy("first", "the first n documents", CountOptions, first),
    SelectionStrategy("ids", "the documents with the given ids", IdOptions, ids),
    SelectionStrategy("random", "n documents at random, by the seed", CountOptions, random),
    SelectionStrategy(
        "incorrect", "the first n documents that the model got wrong", MetricOptions, incorrect
    ),
    SelectionStrategy("correct", "the first n documents that the model got right", MetricOptions, correct),
    SelectionStrategy(
        "margin", "n documents whose best two choices are closest, for multiple choice", CountOptions, margin
    ),
    SelectionStrategy("entropy", "n documents whose outcome is least certain", CountOptions, entropy),
    SelectionStrategy(
        "flips",
        "documents that were right and are wrong, or the other way, since an earlier run",
        FlipOptions,
        flips,
    ),
    SelectionStrategy(
        "stratified", "n documents at random for each value of a field of theirs", StratumOptions, stratified
    ),
    SelectionStrategy("function", "what a Python function chooses", FunctionOptions, function),
    SelectionStrategy("union", "what any of several strategies chooses", CombinedOptions, union),
    SelectionStrategy(
        "chain", "each strategy chooses among what the one before it chose", CombinedOptions, chain
    ),
)


@hookimpl
def gilot_selection_strategies() -> tuple[SelectionStrategy, ...]:
    """The strategies that come with the package."""
    return STRATEGIES
