"""``gilot card``: the section about a run in a model card."""

from __future__ import annotations

import argparse
from pathlib import Path

from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, chosen_run, say, write


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser("card", help="write or renew the section about a run in a model card")
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser)
    parser.add_argument(
        "--model_card",
        type=Path,
        required=True,
        metavar="README.md",
        help="the card; all but the section between its markers stays as it is",
    )
    parser.add_argument(
        "--eval_results",
        action="store_true",
        help="also write the scores into the card's header, as the hub reads them (model-index)",
    )
    parser.add_argument("--method", help="whose scores to tell of (default: ot, else the first of the run)")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ArtifactError: There is no such run or method, a record or the card is broken, or a file cannot be
            written.
    """
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.reports.card.editing import new_card, read_card, with_section
    from gilot_plugin.reports.card.index import with_eval_results
    from gilot_plugin.reports.card.section import card_section
    from gilot_plugin.reports.figures import save_figure

    folder, date = chosen_run(options.run_dir, model=options.model, date=options.date, ablated=True)
    path: Path = options.model_card
    before = read_card(path)
    loaded = load_run(folder, date=date, ablated=True)
    section = card_section(loaded, options.method)
    after = with_section(new_card(section.title) if before is None else before, section.text)
    if options.eval_results:
        after = with_eval_results(after, loaded)
    # The figures first, so that no card shows what is not there.
    for file, figure, description in section.pictures:
        save_figure(figure, path.parent / file, description)
        say(str(path.parent / file))
    if after == before:
        say(f"{path}: unchanged")
    else:
        write(path.resolve(), after.decode())
    return DONE
