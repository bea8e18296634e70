"""``gilot compare``: the audit of a fine-tuned model against its base."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.commands.shared import DONE, FAILED, Subcommands, add_output, chosen_run, write
from gilot_plugin.reports.visible import visible

if TYPE_CHECKING:
    from gilot_plugin.artifacts.loading import LoadedRun


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "compare", help="paired audit of a fine-tuned model against its base (HTML, JSON, verdict)"
    )
    parser.add_argument(
        "base_run", type=Path, metavar="BASE_RUN", help="output folder of the base model's run"
    )
    parser.add_argument("tuned_run", type=Path, metavar="TUNED_RUN", help="output folder of the other run")
    parser.add_argument(
        "--noise",
        type=Path,
        action="append",
        default=[],
        metavar="RUN",
        help="the base model's run once more, with another seed or batch size; may be given several times",
    )
    parser.add_argument(
        "--model",
        nargs=2,
        default=(None, None),
        metavar=("BASE", "TUNED"),
        help="the runs of these models; those of --noise are of the first (default: the newest run)",
    )
    parser.add_argument(
        "--date",
        nargs=2,
        default=(None, None),
        metavar=("BASE", "TUNED"),
        help="the runs of these dates, as their file names spell them (default: the newest)",
    )
    parser.add_argument("--method", help="whose scores to compare (default: ot, else the first in both)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling (default: 0)")
    add_output(parser, "DIR", "beside the other run's artifacts")
    parser.add_argument(
        "--fail_on",
        action="append",
        default=[],
        metavar="NAME[=LIMIT]",
        help="exit with 1 where the audit reaches a limit: findings, segment_shift, word_shift, "
        "accuracy_drop, right_to_wrong, moved",
    )
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ConfigError: A limit of ``--fail_on`` is wrong.
        ArtifactError: There is no such run or method, a record is broken, no document is in both runs, or the
            audit cannot be written.
    """
    from gilot_plugin.comparison.audit import audit_runs
    from gilot_plugin.comparison.verdict import audit_json, failures, parse_thresholds, verdict_lines
    from gilot_plugin.reports.html.comparison import comparison_page
    from gilot_plugin.reports.shift_table import shift_table

    thresholds = parse_thresholds(options.fail_on)
    base, tuned = (
        _load(folder, model, date)
        for folder, model, date in zip(
            (options.base_run, options.tuned_run), options.model, options.date, strict=True
        )
    )
    noise = [_load(folder, options.model[0], None) for folder in options.noise]
    audit = audit_runs(base, tuned, noise=noise, method=options.method, seed=options.seed)
    console = Console()
    for line in (*verdict_lines(audit), *(f"Note: {warning}." for warning in audit.warnings)):
        console.print(visible(line, console.encoding), markup=False, highlight=False)
    console.print(shift_table(audit, console.encoding))
    folder: Path = options.output_path or tuned.folder
    write(folder / companion_name("comparison", tuned.date, ".html"), comparison_page(audit))
    write(
        folder / companion_name("comparison", tuned.date, ".json"),
        json.dumps(audit_json(audit), indent=1) + "\n",
    )
    failed = list(failures(audit, thresholds))
    for line in failed:
        console.print(f"failed on {line}", style="red", markup=False, highlight=False)
    return FAILED if failed else DONE


def _load(folder: Path, model: str | None, date: str | None) -> LoadedRun:
    from gilot_plugin.artifacts.loading import load_run

    place, date = chosen_run(folder, model=model, date=date)
    return load_run(place, date=date)
