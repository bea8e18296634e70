"""``gilot --print_completion SHELL``: what makes a shell complete commands, options and files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

#: As in ``shtab.SUPPORTED_SHELLS``, without importing it.
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")

#: Options of lm-eval that name folders, though they are plain texts to its parser.
_FOLDERS = frozenset({"include_path", "output_path"})


def add_completion(parser: argparse.ArgumentParser) -> None:
    """Add the option to the parser of the whole command."""
    parser.add_argument(
        "--print_completion",
        action=_PrintCompletion,
        choices=SHELLS,
        metavar="SHELL",
        help=f"print a script that completes what you type, for {', '.join(SHELLS)}: for bash, "
        'eval "$(gilot --print_completion bash)" in ~/.bashrc',
    )


class _PrintCompletion(argparse.Action):
    """Prints the script and ends, as ``--version`` does."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        import shtab

        from gilot_plugin.harness.entry.command import make_parser

        commands = next(found for found in parser._actions if isinstance(found, argparse._SubParsersAction))
        # Its options are lm-eval's, whose parser takes seconds to import.
        commands.choices["run"] = make_parser()
        for action in _actions(parser):
            place = _place(action)
            if place is not None:
                action.complete = getattr(shtab, place)  # type: ignore[attr-defined]
        print(shtab.complete(parser, str(values)))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action


def _place(action: argparse.Action) -> str | None:
    """Name of shtab's completion of files or folders; None where an argument is neither."""
    if action.type is not Path:
        return "DIRECTORY" if action.dest in _FOLDERS else None
    words = str(action.metavar).split("_")
    return "DIRECTORY" if {"DIR", "RUN"} & {*words} and "FILE" not in words else "FILE"
