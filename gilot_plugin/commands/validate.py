"""``gilot validate``: artifacts against their schema and against each other."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from gilot_plugin.commands.shared import DONE, FAILED, Subcommands


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "validate", help="check artifacts against their schema and against each other"
    )
    parser.add_argument("path", type=Path, metavar="FILE_OR_DIR")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from gilot_plugin.artifacts.validation import validate_path

    report = validate_path(options.path)
    console = Console()
    for problem in report.problems:
        line = f":{problem.line}" if problem.line is not None else ""
        console.print(
            f"{problem.file}{line}: {problem.reason}", markup=False, highlight=False, soft_wrap=True
        )
    verdict = f"{len(report.problems)} problems" if report.problems else "valid"
    console.print(f"{report.files} files, {report.records} records: {verdict}", highlight=False)
    return FAILED if report.problems else DONE
