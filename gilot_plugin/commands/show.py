"""``gilot show``: a run in the terminal."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, add_limit, chosen_run

#: Samples that are shown unless a number is given: more are no reading matter.
_SHEETS = 20


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser("show", help="overview and heat maps of attributed samples in the terminal")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser)
    parser.add_argument("--task", help="only this task")
    parser.add_argument("--doc", type=int, help="only this document (lm-eval's doc_id)")
    parser.add_argument("--correct", action="store_true", default=None, help="only what the model got right")
    parser.add_argument(
        "--incorrect", dest="correct", action="store_false", help="only what the model got wrong"
    )
    parser.add_argument(
        "--segment", help="only samples of which this part of the prompt has the largest share"
    )
    parser.add_argument("--search", metavar="TEXT", help="only samples whose prompt holds this text")
    parser.add_argument(
        "--sort",
        choices=("doc", "margin", "score"),
        default="doc",
        help="by document, by margin (closest first), or by the largest score (default: doc)",
    )
    parser.add_argument("--list", action="store_true", help="one line a sample")
    parser.add_argument("--method", help="scores to show (default: ot, else the first method of the run)")
    add_limit(parser, f"{_SHEETS}, with --list all")
    parser.add_argument("--no_color", action="store_true", help="marks instead of colours (also when piped)")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ArtifactError: There is no such run, task, document, segment or method, or a record is broken.
    """
    from gilot_plugin.artifacts.reader import read_run
    from gilot_plugin.reports.terminal import Filter, show_run

    folder, date = chosen_run(options.run_dir, model=options.model, date=options.date)
    console = Console(no_color=options.no_color or None)
    show_run(
        read_run(folder, date=date),
        console,
        chosen=Filter(
            options.task, options.doc, options.correct, options.segment, options.search, options.sort
        ),
        method=options.method,
        limit=_SHEETS if options.limit is None and not options.list else options.limit,
        overview=options.doc is None,
        listed=options.list,
    )
    return DONE
