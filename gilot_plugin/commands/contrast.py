"""``gilot contrast``: wrong answers against right ones."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, add_output, chosen_run, count, write


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
    add_output(parser, "FILE.json", "to the screen alone")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ArtifactError: There is no such run, method or field, a record is broken, or the file cannot be
            written.
    """
    from gilot_plugin.analysis.contrast import contrasts
    from gilot_plugin.analysis.contrast_json import contrast_json
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.contrast import show_contrasts

    folder, date = chosen_run(options.run_dir, model=options.model, date=options.date)
    found = contrasts(load_run(folder, date=date), by=options.by, method=options.method, seed=options.seed)
    show_contrasts(found, Console())
    if options.output_path is not None:
        write(options.output_path, json.dumps(contrast_json(found), indent=1) + "\n")
    return DONE
