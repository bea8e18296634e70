"""What all commands share: how they end, and what they say of the files that they write."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from gilot_plugin.artifacts.writer import replace_file

#: What a command returns: 0 done; 1 something failed and is named; 2 the command or a setting is wrong.
DONE, FAILED, WRONG = 0, 1, 2

#: What commands are added to.
Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def count(text: str) -> int:
    """A number of things, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def write(path: Path, text: str) -> None:
    """Write a file and say so."""
    replace_file(path, text.encode())
    say(str(path))


def say(line: str) -> None:
    """Print a line as it is."""
    Console().print(line, markup=False, highlight=False, soft_wrap=True)
