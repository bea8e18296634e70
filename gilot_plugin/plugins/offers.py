"""What plugins offer to the settings: attribution methods, absences, schemes, selection strategies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pluggy

from gilot_plugin.attribution.methods import Distance, TransportDistance, signed
from gilot_plugin.errors import GilotError, one_of
from gilot_plugin.plugins.manager import manager

if TYPE_CHECKING:
    from gilot_plugin.attribution.methods import AttributionMethod
    from gilot_plugin.attribution.prompt.absence import AbsenceOperator
    from gilot_plugin.attribution.schemes.protocol import SchemeOffer
    from gilot_plugin.extension.strategies import SelectionStrategy


def attribution_methods() -> dict[str, AttributionMethod]:
    """All methods by name, in order of registration; after them every distance with its sign.

    Raises:
        GilotError: Two plugins offer the same name.
    """
    offered = _collect("attribution method", manager().hook.gilot_attribution_methods)
    distances = [one for one in offered.values() if isinstance(one, (Distance, TransportDistance))]
    directed = {one.name: one for one in map(signed, distances)}
    return offered | {name: one for name, one in directed.items() if name not in offered}


def absence_operators() -> dict[str, AbsenceOperator]:
    """All absence operators by name.

    Raises:
        GilotError: Two plugins offer the same name.
    """
    return _collect("absence operator", manager().hook.gilot_absence_operators)


def schemes() -> dict[str, SchemeOffer]:
    """All schemes by name.

    Raises:
        GilotError: Two plugins offer the same name.
    """
    return _collect("scheme", manager().hook.gilot_schemes)


def selection_strategies() -> dict[str, SelectionStrategy]:
    """All selection strategies by name.

    Raises:
        GilotError: Two plugins offer the same name.
    """
    return _collect("selection strategy", manager().hook.gilot_selection_strategies)


def _collect(kind: str, hook: pluggy.HookCaller) -> dict[str, Any]:
    # pluggy calls the last registered plugin first; users expect the built-in ones first.
    offers: dict[str, Any] = {}
    for offered in reversed(hook()):
        for offer in offered:
            if offer.name in offers:
                owners = one_of(tuple(_plugins_offering(offer.name, hook)))
                raise GilotError(
                    f"several plugins offer the {kind} {offer.name!r}: rename all but one, or uninstall "
                    f"their packages ({owners})"
                )
            offers[offer.name] = offer
    return offers


def _plugins_offering(name: str, hook: pluggy.HookCaller) -> Iterator[str]:
    for implementation in hook.get_hookimpls():
        offered: Iterable[Any] = implementation.function()  # type: ignore[assignment]
        if any(offer.name == name for offer in offered):
            yield implementation.plugin_name
