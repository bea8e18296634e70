"""``gilot figures``: heat maps and charts of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, add_limit, add_output, chosen_run, say

#: Heat maps that are drawn unless a number is given.
_HEAT_MAPS = 10


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser("figures", help="heat maps and charts of a run, as PNG and SVG")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser)
    add_output(parser, "DIR", "figures_<date> in the run's folder")
    parser.add_argument("--task", help="only this task")
    parser.add_argument("--doc", type=int, help="only this document (lm-eval's doc_id)")
    parser.add_argument("--method", help="whose scores to draw (default: ot, else the first of the run)")
    add_limit(parser, f"heat maps of {_HEAT_MAPS}, tasks take turns")
    parser.add_argument("--format", choices=("png", "svg", "both"), default="both", help="default: both")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ArtifactError: There is no such run, sample or method, a record is broken, or a figure cannot be
            written.
    """
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.figures import run_figures, save_figure

    place, date = chosen_run(options.run_dir, model=options.model, date=options.date, ablated=True)
    run = load_run(place, date=date, ablated=True)
    folder: Path = options.output_path or run.folder / f"figures_{run.date}"
    suffixes = (".png", ".svg") if options.format == "both" else (f".{options.format}",)
    limit = _HEAT_MAPS if options.limit is None else options.limit
    for name, figure, description in run_figures(
        run, method=options.method, task=options.task, doc=options.doc, limit=limit
    ):
        for suffix in suffixes:
            save_figure(figure, folder / f"{name}{suffix}", description)
            say(str(folder / f"{name}{suffix}"))
    return DONE
