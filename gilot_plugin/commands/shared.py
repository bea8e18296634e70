"""What all commands share: how they end, and what they say of the files that they write."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from rich.console import Console

from gilot_plugin.artifacts.writer import replace_file

#: What a command returns: 0 done; 1 something failed and is named; 2 the command or a setting is wrong; 3 the
#: scores are complete, and not all of the chosen samples were explained.
DONE, FAILED, WRONG, UNEXPLAINED = 0, 1, 2, 3

_OPTION = re.compile(r"[A-Za-z][\w-]*")

#: What commands are added to.
Subcommands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def count(text: str) -> int:
    """A number of things, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def positive(text: str) -> int:
    """A number of things of which there must be some, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def add_limit(parser: argparse.ArgumentParser, default: str, read: Callable[[str], int] = count) -> None:
    """Add ``--limit``, which means the same in all commands.

    Args:
        parser: Of the command.
        default: What holds without it, in words.
        read: The numbers that are allowed.
    """
    parser.add_argument("--limit", type=read, help=f"at most so many samples (default: {default})")


def add_settings(parser: argparse.ArgumentParser, where: str = "") -> None:
    """Add ``--gilot`` and ``--gilot_args``.

    Args:
        parser: Of the command.
        where: What the help texts begin with.
    """
    parser.add_argument("--gilot", type=Path, metavar="FILE.yaml", help=f"{where}attribution settings")
    parser.add_argument(
        "--gilot_args",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help=f"{where}attribution settings, which win over the file",
    )


def add_output(parser: argparse.ArgumentParser, metavar: str, default: str) -> None:
    """Add ``--output_path``, and the name that it had before.

    Args:
        parser: Of the command.
        metavar: What it names.
        default: Where is written without it, in words.
    """
    parser.add_argument(
        *("--output_path", "--output"),
        dest="output_path",
        type=Path,
        metavar=metavar,
        help=f"where to write (default: {default})",
    )


def add_choice(parser: argparse.ArgumentParser, model: str = "--model") -> None:
    """Add ``--model`` (another name where that is lm-eval's) and ``--date``, which choose among runs."""
    parser.add_argument(model, metavar="NAME", help="the run of this model (default: the newest run)")
    parser.add_argument("--date", help="the run of this date, as file names spell it (default: the newest)")


#: What :func:`add_lm` adds, as :func:`gilot_plugin.harness.entry.loading.model_source` calls it.
_OF_THE_MODEL = ("model", "model_args", "device", "batch_size")


def add_lm(parser: argparse.ArgumentParser, model: str, batch_size: str) -> None:
    """Add lm-eval's options of a model and of its task files, for a run that is taken up again.

    Args:
        parser: Of the command.
        model: Which class is loaded without ``--model``, in words.
        batch_size: What ``--batch_size`` means, in words.
    """
    parser.add_argument("--include_path", metavar="DIR", help="folder of task files, as for lm-eval")
    parser.add_argument("--model", help=f"lm-eval's model class (default: {model})")
    parser.add_argument("--model_args", help="its arguments (default: the run's)")
    parser.add_argument("--device", help="where to load the model (default: the run's)")
    parser.add_argument("--batch_size", help=f"of lm-eval's model{batch_size}")


def named_lm(options: argparse.Namespace) -> dict[str, str | None]:
    """What the options of :func:`add_lm` say of the model; None where a run is to say it."""
    return {name: getattr(options, name) for name in _OF_THE_MODEL}


def chosen_run(
    folder: Path, *, model: str | None, date: str | None, option: str = "--model", ablated: bool = False
) -> tuple[Path, str]:
    """Folder and date of a run; where there are other models' beside it, which one it is is said.

    Args:
        folder: See :func:`gilot_plugin.artifacts.finding.choose_run`.
        model: See there.
        date: See there.
        option: What chooses the model, for the message.
        ablated: See there.

    Raises:
        ArtifactError: There is no such run.
    """
    from gilot_plugin.artifacts.finding import choose_run

    run, others = choose_run(folder, model=model, date=date, ablated=ablated)
    if others and model is None:
        Console(stderr=True).print(
            f"{folder}: taken is the run of {run.model} of {run.date}; there are runs of "
            f"{', '.join(others)}, too, which {option} chooses",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    return run.folder, run.date


def underscored(arguments: Iterable[str]) -> list[str]:
    """Arguments whose options are spelled with underscores, as all are listed; hyphens mean the same."""
    return list(map(_underscored, arguments))


def _underscored(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    option, equals, value = argument[2:].partition("=")
    # What is no name of an option is the value of one, or refused as it is.
    return f"--{option.replace('-', '_')}{equals}{value}" if _OPTION.fullmatch(option) else argument


def write(path: Path, text: str) -> None:
    """Write a file and say so."""
    replace_file(path, text.encode())
    say(str(path))


def say(line: str) -> None:
    """Print a line as it is."""
    Console().print(line, markup=False, highlight=False, soft_wrap=True)
