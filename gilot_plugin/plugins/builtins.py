"""Built-in plugin: the distances, the ways to take units away and the schemes that come with the package."""

from __future__ import annotations

from gilot_plugin.attribution.builtins import BUILTIN_METHODS, FLIP
from gilot_plugin.attribution.methods import AttributionMethod
from gilot_plugin.attribution.names import LEAVE_ONE_OUT
from gilot_plugin.attribution.prompt.absence import BUILTIN_ABSENCES, AbsenceOperator
from gilot_plugin.attribution.schemes.protocol import SchemeOffer
from gilot_plugin.deferred import Deferred
from gilot_plugin.hookspecs import hookimpl


@hookimpl
def gilot_attribution_methods() -> tuple[AttributionMethod, ...]:
    """Distances between outcome distributions, and whether the answer flips."""
    return (*BUILTIN_METHODS, FLIP)


@hookimpl
def gilot_absence_operators() -> tuple[AbsenceOperator, ...]:
    """Deletion, masking, replacement, and the published mixture."""
    return BUILTIN_ABSENCES


@hookimpl
def gilot_schemes() -> tuple[SchemeOffer, ...]:
    """One unit at a time, and averages over coalitions."""
    return (
        SchemeOffer(
            LEAVE_ONE_OUT,
            "GiLOT: what the absence of a unit alone is worth",
            Deferred("gilot_plugin.attribution.schemes.leave_one_out:make_leave_one_out"),
            budgeted=False,
        ),
        SchemeOffer(
            "shapley",
            "Shapley values: scores add up to what the absence of all units is worth",
            Deferred("gilot_plugin.attribution.schemes.averages:make_shapley"),
        ),
        SchemeOffer(
            "banzhaf",
            "Banzhaf values: every set of other units counts alike",
            Deferred("gilot_plugin.attribution.schemes.averages:make_banzhaf"),
        ),
        SchemeOffer(
            "lime",
            "linear model of random coalitions, those like the full prompt weigh more",
            Deferred("gilot_plugin.attribution.schemes.lime:make_lime"),
        ),
        SchemeOffer(
            "auto",
            "single units, then coalitions and pairs where they leave the order open; long prompts in parts",
            Deferred("gilot_plugin.attribution.schemes.auto:make_auto"),
        ),
    )
