"""``gilot export``: a run for other tools."""

from __future__ import annotations

import argparse
from pathlib import Path

from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, add_output, chosen_run, say

#: As in :data:`gilot_plugin.exports.writing.FORMATS`, which takes long to import.
_FORMATS = ("parquet", "csv", "inseq", "hf")


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser("export", help="a run as tables for the hub, or as files of other tools")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser)
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        default="parquet",
        help="parquet, csv: flat tables with a card for the Hugging Face hub; hf: the same for "
        "datasets.load_from_disk; inseq: for inseq.FeatureAttributionOutput.load (default: parquet)",
    )
    add_output(parser, "DIR", "export_<date>_<format> beside the run")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ArtifactError: There is no such run, it is broken, nothing of it was explained, or the folder cannot
            be written.
        ConfigError: The format needs a package that is not installed.
    """
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.exports.writing import export_run

    place, date = chosen_run(options.run_dir, model=options.model, date=options.date)
    run = load_run(place, date=date)
    folder = options.output_path or run.folder / companion_name("export", run.date, f"_{options.format}")
    for path in export_run(run, options.format, folder):
        say(str(path))
    return DONE
