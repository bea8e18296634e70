"""``gilot settings``: the settings as they will hold, each with its source."""

from __future__ import annotations

import argparse

from rich.console import Console

from gilot_plugin.commands.shared import DONE, Subcommands, add_settings


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "settings",
        help="the settings as they will hold for each task, each with the source it came from",
        description="Tells the settings that `gilot run` with the same options would have, and refuses what "
        "it would refuse, without loading a model. Without tasks: those of a task that has none of its own.",
    )
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="as for `gilot run`")
    parser.add_argument("--include_path", metavar="DIR", help="folder of other tasks, as for `gilot run`")
    parser.add_argument(
        "--config", metavar="FILE.yaml", help="lm-eval's configuration, which may have a section `gilot`"
    )
    add_settings(parser)
    parser.add_argument("--all", action="store_true", help="also those that are as by default")
    parser.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of settings files instead, for editors"
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ConfigError: A setting, a file or a task's name is wrong.
    """
    if options.schema:
        from gilot_plugin.settings.schema import schema_text

        print(schema_text(), end="")
        return DONE
    # They take seconds to import, and --help does without.
    from gilot_plugin.harness.entry.coming_settings import coming_settings
    from gilot_plugin.reports.settings_table import print_settings

    settings = coming_settings(
        options.gilot, options.gilot_args, options.tasks, options.include_path, options.config
    )
    print_settings(settings, Console(), with_defaults=options.all)
    return DONE
