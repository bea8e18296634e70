"""``gilot view``: a run in the browser, while it is being explained and after."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from gilot_plugin.commands.shared import DONE, Subcommands, add_choice, chosen_run, count, say
from gilot_plugin.errors import GilotError


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "view", help="the report in the browser, which follows a run while it is being explained"
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser)
    parser.add_argument("--port", type=count, default=0, help="to listen on (default: any that is free)")
    parser.add_argument("--no_browser", action="store_true", help="only print the address")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command, until it is interrupted.

    Raises:
        ArtifactError: There is no such run.
        GilotError: The port is taken.
    """
    from gilot_plugin.reports.view.following import Following
    from gilot_plugin.reports.view.server import HOST, ViewServer

    place, _ = chosen_run(options.run_dir, model=options.model, date=options.date)
    # Without a date, for a run takes lm-eval's when that has saved its results.
    following = Following(place, date=options.date, model=options.model)
    try:
        server = ViewServer(following, options.port)
    except (OSError, OverflowError) as error:
        raise GilotError(f"--port {options.port} of {HOST} cannot be listened on: {error}") from error
    say(f"{server.address} (for this machine alone; Ctrl-C ends it)")
    if not options.no_browser:
        webbrowser.open(server.address)
    try:
        server.serve()
    except KeyboardInterrupt:
        say("ended")
    return DONE
