"""The plugin manager: what is offered by the package first, then the plugins of other packages."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

import pluggy

from gilot_plugin import hookspecs
from gilot_plugin.errors import GilotError

#: Modules that offer methods, absences and strategies, registered like anybody else's: by name, for each may
#: use whatever it needs. Those that take part in evaluations come when one is attached to, see
#: :mod:`gilot_plugin.harness.entry.taking_part`.
BUILTIN_OFFERS = (
    "gilot_plugin.plugins.builtins",
    "gilot_plugin.baselines.builtins",
    "gilot_plugin.strategies.builtins",
)

_OWN_NAMES = "gilot_plugin."


@cache
def manager() -> pluggy.PluginManager:
    """The process-wide plugin manager, with everything registered that is not a part of an evaluation.

    Raises:
        GilotError: A plugin of another package cannot be loaded; the message names it.
    """
    plugins = pluggy.PluginManager(hookspecs.PROJECT_NAME)
    plugins.add_hookspecs(hookspecs)
    for name in BUILTIN_OFFERS:
        plugins.register(import_module(name), name=name)
    for found in entry_points(group=hookspecs.PROJECT_NAME):
        package = found.dist.name if found.dist is not None else "an unknown package"
        if plugins.has_plugin(found.name) or found.name.startswith(_OWN_NAMES):
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


def third_party_plugins() -> list[tuple[str, str]]:
    """Distribution name and version of each plugin that another package registered."""
    return [(found.project_name, found.version) for _, found in manager().list_plugin_distinfo()]
