"""What the model answers to many prompts: greedy decoding in full batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from gilot_plugin.attribution.execution import Execution
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.backends.wanted import BeamSearch


class Decoding(NamedTuple):
    """How answers are decoded.

    Attributes:
        max_new_tokens: Most tokens of an answer.
        execution: How the work is carried out.
    """

    max_new_tokens: int = 256
    execution: Execution = Execution()


def greedy_answers(
    backend: Scorer, rows: Iterable[Row], decoding: Decoding
) -> Iterator[Mapping[Row, tuple[int, ...]]]:
    """The likeliest token each time, until an end.

    As transformers' ``generate(do_sample=False)`` answers each prompt by itself. Prompts of about the same
    length go together; those whose answers have ended leave the batch.

    Args:
        backend: The model.
        rows: The prompts; equal ones are answered once.
        decoding: How.

    Yields:
        For each batch, the tokens of the answers, the end of sequence included where there is one.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small.
    """
    found = backend.search([*rows], BeamSearch(1, decoding.max_new_tokens), decoding.execution.room())
    for some in found:
        yield {row: hypotheses.continuations[0].token_ids for row, hypotheses in some.items()}
