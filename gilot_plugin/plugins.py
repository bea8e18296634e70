"""The plugin manager: built-in plugins first, then those of other packages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

from gilot_plugin import hookspecs
from gilot_plugin.errors import GilotError

if TYPE_CHECKING:
    from gilot_plugin.attribution.absence import AbsenceOperator
    from gilot_plugin.attribution.methods import AttributionMethod
    from gilot_plugin.harness.selection import SelectionStrategy

#: Modules that implement the hooks; registered like anybody else's.
BUILTIN_PLUGINS = (
    "gilot_plugin.harness.recorder",
    "gilot_plugin.harness.selection",
    "gilot_plugin.harness.attributor",
    "gilot_plugin.harness.recordkeeper",
    "gilot_plugin.attribution.builtins",
)




@cache
def manager() -> pluggy.PluginManager:
    """The process-wide plugin manager, with everything registered.

    Raises:
        GilotError: A plugin of another package cannot be loaded.
    """
    plugins = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    plugins.add_hookspecs(hookspecs)
    for name in BUILTIN_PLUGINS:
        plugins.register(import_module(name), name=name)
    try:
        plugins.load_setuptools_entrypoints(hookspecs.PROJECT_NAME)
    except Exception as error:
        raise GilotError(
            f"a plugin of the entry-point group 'gilot' cannot be loaded: {error!r}; update or uninstall its package"
        ) from error
    return plugins


def attribution_methods() -> dict[str, AttributionMethod]:
    """All methods by name, in order of registration.

    Raises:
        GilotError: Two plugins offer the same name.
    """
    return _collect("attribution method", manager().hook.gilot_attribution_methods)


def absence_operators() -> dict[str, AbsenceOperator]:
    """All absence operators by name.

    Raises:
        GilotError: Two plugins offer the same name.
    """
    return _collect("absence operator", manager().hook.gilot_absence_operators)


def selection_strategies() -> dict[str, SelectionStrategy]:
    """All selection strategies by name.

    Raises:
        GilotError: Two plugins offer the same name.
    """
    return _collect("selection strategy", manager().hook.gilot_selection_strategies)


def third_party_plugins() -> list[tuple[str, str]]:
    """Distribution name and version of each plugin that another package registered."""
    return [(found.project_name, found.version) for _, found in manager().list_plugin_distinfo()]


def _collect(kind: str, hook: Callable[[], list[Iterable[Any]]]) -> dict[str, Any]:
    # pluggy calls the last registered plugin first; users expect the built-in ones first.
    offers: dict[str, Any] = {}
    for offered in reversed(hook()):
        for offer in offered:
            if offer.name in offers:
                raise GilotError(f"two plugins offer the {kind} {offer.name!r}: uninstall or rename one of them")
            offers[offer.name] = offer
    return offers
