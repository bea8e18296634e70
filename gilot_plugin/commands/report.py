"""``gilot report``: a run as one HTML file."""

from __future__ import annotations

import argparse
from pathlib import Path

from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, add_output, chosen_run, write


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser("report", help="one self-contained HTML file about a run")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser)
    add_output(parser, "FILE", "report_<date>.html beside the run")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ArtifactError: There is no such run, it is broken or empty, or the page cannot be written.
    """
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.html.report import report_page

    place, date = chosen_run(options.run_dir, model=options.model, date=options.date, ablated=True)
    run = load_run(place, date=date, ablated=True)
    write(options.output_path or run.folder / companion_name("report", run.date, ".html"), report_page(run))
    return DONE
