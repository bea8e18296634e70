"""What is explained of a prompt: anything that gives its outcome distributions with and without units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from gilot_plugin.attribution.absence import AbsenceContext, AbsenceOperator
from gilot_plugin.attribution.geometry import Geometry
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Prompt, Unit
from gilot_plugin.backends.protocol import Backend, Row
from gilot_plugin.errors import UnsupportedModelError

#: Distributions over the vocabulary alive at once for each one that is kept: logits and their softmax.
LOGIT_COPIES = 2


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcome distributions of a batch of prompts.

    Attributes:
        logprobs: ``[rows, steps, outcomes]``, log P(v | x) in nats, normalised.
        answer_logprobs: ``[rows]``, log-probability of the model's own answer, in nats; None if not asked
            for.
    """

    logprobs: torch.Tensor
    answer_logprobs: torch.Tensor | None = None


class Target(Protocol):
    """Gives the outcome distributions of a prompt with and without units."""

    @property
    def geometry(self) -> Geometry:
        """Where the outcomes lie."""
        ...

    @property
    def gold(self) -> tuple[int, ...]:
        """Outcomes that are right, where the task says so."""
        ...

    @property
    def row_bytes(self) -> int:
        """Memory that one prompt of a batch takes."""
        ...

    def outcomes(self, absent: Sequence[Unit | None]) -> Outcomes:
        """Outcomes without each of the units; None stands for the full prompt."""
        ...

    def model_tokens(self, unit: Unit | None) -> int:
        """About how many tokens the model reads to find the outcome without the unit, None: with all."""
        ...


class Rows:
    """A prompt without units, as the model is fed it.

    Args:
        prompt: The full prompt.
        recipe: Says how units are taken away.
    """

    def __init__(self, prompt: Prompt, recipe: Recipe) -> None:
        self._prompt, self._recipe = prompt, recipe

    def without(
        self,
        absent: Sequence[Unit | None],
        operator: Callable[[Sequence[int], Unit, AbsenceContext], Row] | None = None,
    ) -> list[Row]:
        """One row a unit, by the recipe's operator or a given one; None stands for the full prompt."""
        take_away, ids = operator or self._recipe.absence.without, self._prompt.token_ids
        context = self._recipe.absence_context
        return [Row(ids) if unit is None else take_away(ids, unit, context) for unit in absent]

    def length(self, unit: Unit | None) -> int:
        """Tokens that are left without the unit; None stands for the full prompt."""
        return len(self.without([unit])[0].token_ids)


def check_positions(backend: Backend, operator: AbsenceOperator) -> None:
    """Refuse operators that mask tokens or move positions where the model does not take that.

    Raises:
        UnsupportedModelError: It does not.
    """
    if operator.needs_positions and backend.refuses_positions is not None:
        raise UnsupportedModelError(
            f"absence={operator.name!r}: this model cannot hide tokens while the others keep their "
            f"positions: {backend.refuses_positions}; allowed are 'delete' and 'replace'"
        )
