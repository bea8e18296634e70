"""The command ``gilot``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape

from gilot_plugin.commands import (
    ablate,
    card,
    check,
    compare,
    contrast,
    explain,
    export,
    faithfulness,
    figures,
    methods,
    plugins,
    report,
    run,
    settings,
    show,
    validate,
    view,
)
from gilot_plugin.commands.completion import add_completion
from gilot_plugin.commands.shared import DONE, FAILED, UNEXPLAINED, WRONG, underscored
from gilot_plugin.errors import ConfigError, GilotError
from gilot_plugin.version import VERSION

__all__ = ["DONE", "FAILED", "UNEXPLAINED", "WRONG", "main"]

#: In the order of ``--help``.
_COMMANDS = (
    *(run, explain, settings, check, show, view, report, compare, figures, card, faithfulness, ablate),
    *(contrast, export, validate, methods, plugins),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name; None for the process's own.

    Returns:
        0 done; 1 something failed and is named; 2 the command or a setting is wrong; 3 the scores are
        complete, and not all of the chosen samples were explained.
    """
    arguments = underscored(sys.argv[1:] if argv is None else argv)
    errors = Console(stderr=True, emoji=False)
    try:
        if arguments[:1] == ["run"]:
            return run.run(arguments[1:])
        options = _parser().parse_args(arguments)
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except ConfigError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        return WRONG
    except GilotError as error:
        errors.print(f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gilot",
        description="GiLOT attributions beside the scores of lm-evaluation-harness: how much each word of a "
        "prompt matters to everything the model might say.",
    )
    parser.add_argument("--version", action="version", version=f"gilot-plugin {VERSION}")
    add_completion(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
