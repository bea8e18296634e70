"""Built-in plugin: the distances and the ways to take units away that come with the package."""

from __future__ import annotations

from gilot_plugin.attribution.builtins import BUILTIN_METHODS, FLIP
from gilot_plugin.attribution.methods import AttributionMethod
from gilot_plugin.attribution.prompt.absence import BUILTIN_ABSENCES, AbsenceOperator
from gilot_plugin.hookspecs import hookimpl


@hookimpl
def gilot_attribution_methods() -> tuple[AttributionMethod, ...]:
    """Distances between outcome distributions, and whether the answer flips."""
    return (*BUILTIN_METHODS, FLIP)


@hookimpl
def gilot_absence_operators() -> tuple[AbsenceOperator, ...]:
    """Deletion, masking, replacement, and the published mixture."""
    return BUILTIN_ABSENCES
