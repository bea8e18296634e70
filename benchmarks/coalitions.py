"""LIME over outcome distributions: coalitions are worth what the outcome moves without them.

GiLOT takes single units away, LIME many at once, but looks at the log-probability of one answer. These
methods have the coalitions of the one and the distances of the other, so that a benchmark can tell which of
the two makes the difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from gilot_plugin.attribution.inquiry import generation_inquiry
from gilot_plugin.attribution.measuring import Measurer
from gilot_plugin.attribution.methods import AttributionMethod, MethodContext, PromptMethod
from gilot_plugin.attribution.types import Absent
from gilot_plugin.baselines.perturbation import lime
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins.manager import manager
from gilot_plugin.resolve import make_recipe
from gilot_plugin.settings.config import GilotConfig

DISTANCES = ("ot", "kl")


def moved(distance: str, context: MethodContext, absent: Sequence[Absent]) -> list[float]:
    """How far the outcome moves without each set of units, by the default settings, as a loss."""
    backend = context.backend
    config = GilotConfig(methods=(distance,))
    recipe = make_recipe(config, backend, None, backend.eos_token_ids[0])
    inquiry = generation_inquiry(backend, context.prompt, (), recipe, str, str)
    (found,) = Measurer(backend, recipe).measure([(inquiry.subject, list(absent))])
    return [-measured.score for (measured,) in found]


class Coalitions:
    """Plugin with a method for each distance."""

    @hookimpl
    def gilot_attribution_methods(self) -> tuple[AttributionMethod, ...]:
        """``lime_ot`` and ``lime_kl``."""
        return tuple(
            PromptMethod(
                f"lime_{name}",
                f"captum's LIME: linear model of {name} from the full prompt's outcome",
                partial(lime, values=partial(moved, name)),
            )
            for name in DISTANCES
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
