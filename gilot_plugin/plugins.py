"""The plugin manager: built-in plugins first, then those of other packages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pluggy

from gilot_plugin import hookspecs
from gilot_plugin.errors import GilotError, one_of

if TYPE_CHECKING:
    from gilot_plugin.attribution.methods import AttributionMethod
    from gilot_plugin.attribution.prompt.absence import AbsenceOperator
    from gilot_plugin.harness.choosing.selecting import SelectionStrategy

#: Modules that implement the hooks; registered like anybody else's.
BUILTIN_PLUGINS = (
    "gilot_plugin.harness.recording.plugin",
    "gilot_plugin.harness.choosing.plugin",
    "gilot_plugin.harness.explaining.plugin",
    "gilot_plugin.harness.keeping.plugin",
    "gilot_plugin.attribution.builtins",
    "gilot_plugin.baselines.builtins",
)


@cache
def manager() -> pluggy.PluginManager:
    """The process-wide plugin manager, with everything registered.

    Raises:
        GilotError: A plugin of another package cannot be loaded; the message names it.
    """
    plugins = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    plugins.add_hookspecs(hookspecs)
    for name in BUILTIN_PLUGINS:
        plugins.register(import_module(name), name=name)
    for found in entry_points(group=hookspecs.PROJECT_NAME):
        package = found.dist.name if found.dist is not None else "an unknown package"
        if plugins.has_plugin(found.name):
            raise GilotError(
                f"two plugins are named {found.name!r}, one is of {package}: uninstall one of them"
            )
        try:
            plugins.load_setuptools_entrypoints(hookspecs.PROJECT_NAME, found.name)
            plugins.check_pending()  # refuses hooks that do not exist
        except Exception as error:
            raise GilotError(
                f"the plugin {found.name!r} ({found.value}) of {package} cannot be loaded: {error!r}; "
                "update or uninstall the package"
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
