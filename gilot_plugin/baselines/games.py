"""The game that perturbation methods play: units are there or not, and that is worth so much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import not_

import torch

from gilot_plugin.attribution.methods import MethodContext
from gilot_plugin.attribution.types import Absent
from gilot_plugin.baselines.chance import torch_draws

#: Gives the value of each coalition, ``[coalitions]``, from which units are there, ``[coalitions, units]``.
Value = Callable[[torch.Tensor], torch.Tensor]

#: The same of many at once, from the units that are absent in each; a full prompt has 0.
Values = Callable[[MethodContext, Sequence[Absent]], Sequence[float]]


def answer_logprobs(context: MethodContext, absent: Sequence[Absent]) -> list[float]:
    """How much likelier the answer is than after the full prompt, in nats.

    The difference keeps its digits where libraries go on in single precision.
    """
    full, *logprobs = context.reader.logprobs([(), *absent]).tolist()
    return [logprob - full for logprob in logprobs]


def played(
    context: MethodContext, attribute: Callable[[Value], torch.Tensor], values: Values = answer_logprobs
) -> list[float]:
    """Let a method ask for coalitions, and answer all of them at once.

    The method runs twice with the same random numbers: first to note what it asks for, with 0 for an answer,
    so that the model reads every coalition once and in full batches; then with the values.

    Args:
        context: The prompt and its units.
        attribute: The method. What it asks for must not depend on the answers.
        values: What coalitions are worth.

    Returns:
        What the method gives the second time, as a flat list.
    """
    asked: set[tuple[bool, ...]] = set()

    def note(present: torch.Tensor) -> torch.Tensor:
        asked.update(map(tuple, present.bool().tolist()))
        return torch.zeros(len(present), dtype=torch.float64)

    with torch_draws(context):
        attribute(note)
    # Rows of about the same length go through the model together.
    coalitions = sorted(asked, key=lambda present: (sum(present), present))
    absent = [tuple(compress(context.units, map(not_, present))) for present in coalitions]
    worth = dict(zip(coalitions, values(context, absent), strict=True))

    def look_up(present: torch.Tensor) -> torch.Tensor:
        return torch.tensor([worth[tuple(row)] for row in present.bool().tolist()], dtype=torch.float64)

    with torch_draws(context):
        found: list[float] = attribute(look_up).flatten().tolist()
    return found
