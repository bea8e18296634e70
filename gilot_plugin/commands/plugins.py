"""``gilot plugins``: what is registered."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from gilot_plugin.commands.shared import DONE, Subcommands


def add_parser(commands: Subcommands) -> None:
    """Add the command, which has no options."""
    parser = commands.add_parser("plugins", help="what is registered, and by which package")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from gilot_plugin.plugins.manager import manager

    # Those of other packages first: where one of them is broken, nothing else is worth the wait.
    plugins = manager()
    from gilot_plugin.harness.entry.taking_part import BUILTIN_EVENTS

    packages = {
        plugin: f"{found.project_name} {found.version}" for plugin, found in plugins.list_plugin_distinfo()
    }
    # Names that are cut short would look alike.
    table = Table(*(Column(title, overflow="fold") for title in ("plugin", "package", "hooks")))
    for name, plugin in [*BUILTIN_EVENTS.items(), *plugins.list_name_plugin()]:
        hooks = ", ".join(sorted(hook for hook in dir(plugin) if plugins.parse_hookimpl_opts(plugin, hook)))
        table.add_row(escape(name), escape(packages.get(plugin, "gilot-plugin (built in)")), hooks)
    Console().print(table)
    return DONE
