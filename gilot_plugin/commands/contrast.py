"""``gilot contrast``: wrong answers against right ones."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, chosen_run, count


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "contrast",
        help="which parts, words and flows carry more in wrong answers than in right ones, or by any field",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser)
    parser.add_argument(
        "--by",
        default="correct",
        metavar="FIELD",
        help="correct, task, or a field of the documents, dots for nesting (default: correct)",
    )
    parser.add_argument("--method", help="whose scores (default: ot, else the first of the run)")
    parser.add_argument("--seed", type=count, default=0, help="of the shuffles (default: 0)")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ArtifactError: There is no such run, method or field, or a record is broken.
    """
    from gilot_plugin.analysis.contrast import contrasts
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.contrast import show_contrasts

    folder, date = chosen_run(options.run_dir, model=options.model, date=options.date)
    found = contrasts(load_run(folder, date=date), by=options.by, method=options.method, seed=options.seed)
    show_contrasts(found, Console())
    return DONE
