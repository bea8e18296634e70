"""The total path: the model answers anew without a unit, and what the metric sees of that is compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.methods import MethodContext
from gilot_plugin.attribution.prediction.greedy import Decoding, greedy_answers
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Flips, Prompt, Unit
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Scorer


class Verdict(NamedTuple):
    """What becomes of answers.

    Attributes:
        of: What the metric sees of an answer, given all of its tokens; None where it sees nothing.
        max_new_tokens: Longest answer, in tokens.
    """

    of: Callable[[Sequence[int]], str | None]
    max_new_tokens: int


def answered_anew(
    backend: Scorer,
    prompt: Prompt,
    said: int,
    units: Sequence[Unit],
    recipe: Recipe,
    execution: Execution,
    verdict: Verdict,
) -> Flips:
    """Let the model answer greedily without each unit.

    Without a unit of the prompt it reasons anew from the prompt's end. Without a unit of what it said itself,
    it goes on from there: from the prompt, and what it said before what is explained.

    Args:
        backend: The model.
        prompt: The prompt, and what the model said before what is explained.
        said: Tokens of the latter.
        units: What is taken away, one at a time.
        recipe: How.
        execution: How the work is carried out.
        verdict: What is compared.

    Raises:
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small.
    """
    fed = len(prompt.tokens) - said
    ids = prompt.token_ids
    rows: list[Row] = []
    kept: list[tuple[int, ...]] = []
    for unit in units:
        own = unit.start_token >= fed
        rows.append(recipe.absence.without(ids if own else ids[:fed], (unit,), recipe.absence_context))
        # What is left of its own words is part of its answer.
        kept.append((*ids[fed : unit.start_token], *ids[unit.end_token :]) if own else ())
    full = Row(ids[:fed])
    room = verdict.max_new_tokens
    if backend.limits.max_positions is not None:
        # The last token of an answer is never fed.
        room = min(room, backend.limits.max_positions - max(len(row.token_ids) for row in (full, *rows)) + 1)
    answers: dict[Row, tuple[int, ...]] = {}
    for batch in greedy_answers(backend, [full, *rows], Decoding(max(1, room), execution)):
        answers.update(batch)
    answer = verdict.of(answers[full])
    into = tuple(verdict.of((*before, *answers[row])) for before, row in zip(kept, rows, strict=True))
    return Flips(answer, into, sum(text != answer for text in into) / max(1, len(into)))


def of_game(context: MethodContext) -> list[float]:
    """1 for each unit without which another answer comes out, else 0.

    Raises:
        ValueError: Nobody can say what the metric sees of an answer.
    """
    flips = context.game.flips
    if flips is None:
        raise ValueError("what the metric sees of an answer is not known: it takes a task with a filter")
    return [float(changed) for changed in flips.changed]
