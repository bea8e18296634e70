"""LIME over outcome distributions: coalitions are worth what the outcome moves without them.

GiLOT takes single units away, LIME many at once, but looks at the log-probability of one answer. These
methods have the coalitions of the one and the distances of the other, so that a benchmark can tell which of
the two makes the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.methods import AttributionMethod, PromptMethod
from gilot_plugin.baselines.perturbation import lime
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins.manager import manager

DISTANCES = tuple(method for method in BUILTIN_METHODS if method.name in ("ot", "kl"))


class Coalitions:
    """Plugin with a method for each distance."""

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[AttributionMethod, ...]:
        """``lime_ot`` and ``lime_kl``."""
        return tuple(
            PromptMethod(
                f"lime_{distance.name}",
                f"captum's LIME: linear model of {distance.name} from the full prompt's outcome",
                partial(lime, measure=distance),
            )
            for distance in DISTANCES
        )


@contextmanager
def offered() -> Iterator[None]:
    """The methods are there within the block."""
    plugin = Coalitions()
    manager().register(plugin)
    try:
        yield
    finally:
        manager().unregister(plugin)
