"""One sample under one way to take units away: its reduced prompts, and what was computed of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gilot_plugin.artifacts.models import SCHEMA_VERSION
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.prediction.targets import PromptRows
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Absent
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.faithfulness.curves import AnswerTexts, Curves, Quantity, SampleCurves
from gilot_plugin.faithfulness.ranked import RankedSample
from gilot_plugin.faithfulness.removal import Removals, Removed
from gilot_plugin.faithfulness.store import ValueStore

#: The full prompt.
NOTHING_REMOVED: Removed = ()

#: What no number depends on, or what keys hold in another form.
_NO_SETTINGS = {
    "absence",
    "absence_context",
    "methods",
    "scheme",
    "scheme_name",
    "seed",
    "solver",
}


class Numbers(NamedTuple):
    """Where the values of a quantity are found.

    Attributes:
        key: Key of the value in the store, by what is removed.
        fixed: Values that are known without computing.
    """

    key: Callable[[Removed], str]
    fixed: Mapping[Removed, float] = {}


class Ablations:
    """The distinct reduced prompts of a sample, each of which is computed once for all rankings.

    Args:
        backend: The model.
        sample: The sample.
        absence: Name of the way to take units away.
        recipe: That way, and how outcome distributions are found.
        removals: What is removed, by the name of the ranking.
        store: What was computed so far.
        execution: How the work is carried out.

    Attributes:
        rows: The prompt as fed, by what is removed, the full prompt first.
    """

    def __init__(
        self,
        backend: Scorer,
        sample: RankedSample,
        absence: str,
        recipe: Recipe,
        removals: Mapping[str, Removals],
        store: ValueStore,
        execution: Execution,
    ) -> None:
        self.sample, self.recipe, self.store, self.execution = sample, recipe, store, execution
        self._absence, self._removals = absence, removals
        self._rows = PromptRows(sample.prompt, recipe)
        self.rows: dict[Removed, Row] = {
            removed: self._rows.without(self.absent(removed)) for removed in distinct(removals.values())
        }

    @property
    def full_row(self) -> Row:
        """The full prompt as fed."""
        return self.rows[NOTHING_REMOVED]

    def absent(self, removed: Removed) -> Absent:
        """The units that are removed."""
        return tuple(self.sample.units[place] for place in removed)

    def key(self, name: str, removed: Removed, *depends_on: Any) -> str:
        """Key in the store of a value of a reduced prompt."""
        return self.store.key(name, self.rows[removed], *depends_on)

    def outcome_key(self, name: str, removed: Removed, *depends_on: Any) -> str:
        """Key in the store of a number that compares the outcome distribution with the full prompt's."""
        rescored = self.recipe.absence.rescored_without
        second = None
        if rescored is not None and removed:
            second = self._rows.without(self.absent(removed), rescored)
        return self.key(name, removed, self.full_row, second, _settings(self.recipe), *depends_on)

    def missing(self, numbers: Numbers) -> list[Removed]:
        """What is removed where the value is still to be computed, once for equal keys."""
        wanted = {numbers.key(removed): removed for removed in self.rows if removed not in numbers.fixed}
        return [removed for key, removed in wanted.items() if key not in self.store.numbers]

    def curves(
        self, numbers: Mapping[Quantity, Numbers], texts: Mapping[Removed, str] | None
    ) -> list[SampleCurves]:
        """Curves under each ranking, once all values are in the store."""
        values = {quantity: self._values(found) for quantity, found in numbers.items()}
        return [
            SampleCurves(
                self.sample.key,
                self._absence,
                ranking,
                {
                    quantity.name: Curves(
                        tuple(found[removed] for removed in removals.morf),
                        tuple(found[removed] for removed in removals.lerf),
                        quantity.falls,
                    )
                    for quantity, found in values.items()
                },
                None
                if texts is None
                else AnswerTexts(*(tuple(texts[removed] for removed in order) for order in removals)),
            )
            for ranking, removals in self._removals.items()
        ]

    def _values(self, numbers: Numbers) -> dict[Removed, float]:
        known = self.store.numbers
        return {
            removed: numbers.fixed[removed] if removed in numbers.fixed else known[numbers.key(removed)]
            for removed in self.rows
        }


def distinct(removals: Iterable[Removals]) -> tuple[Removed, ...]:
    """All sets that are removed, each once, nothing first."""
    found = dict.fromkeys(removed for one in removals for order in one for removed in order)
    return tuple(dict.fromkeys((NOTHING_REMOVED, *found)))


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What outcome distributions and distances between them depend on, beside the rows."""
    told = {
        field.name: value if isinstance(value, str | int | float | None) else repr(value)
        for field in dataclasses.fields(recipe)
        if field.name not in _NO_SETTINGS
        for value in (getattr(recipe, field.name),)
    }
    # Whatever a solver was made with, but for how it spreads its work.
    solver = {
        name: value
        for name, value in vars(recipe.solver).items()
        if isinstance(value, str | int | float | np.number) and "threads" not in name
    }
    return {**told, "solver": [type(recipe.solver).__name__, solver], "scores": SCHEMA_VERSION}
