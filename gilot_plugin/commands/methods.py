"""``gilot methods``: what settings can name."""

from __future__ import annotations

import argparse

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gilot_plugin.commands.shared import DONE, Subcommands


def add_parser(commands: Subcommands) -> None:
    """Add the command, which has no options."""
    parser = commands.add_parser(
        "methods", help="attribution methods, schemes, ways to take units away and to choose samples"
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from gilot_plugin.attribution.builtins import margin_drop
    from gilot_plugin.plugins import offers

    console, margin = Console(), margin_drop(())
    listed = (
        ("methods", offers.attribution_methods()),
        ("scheme", offers.schemes()),
        ("absence", offers.absence_operators()),
        ("select.strategy", offers.selection_strategies()),
    )
    for setting, found in listed:
        table = Table("name", "what it does", title=f"setting {setting}", title_justify="left")
        if setting == "methods":
            table.caption = f"{margin.name} comes by itself with choices: {margin.summary}"
            table.caption_justify = "left"
        for name, offer in found.items():
            table.add_row(escape(name), escape(offer.summary))
        console.print(table)
    return DONE
