"""``gilot ablate``: an evaluation once more without parts of its prompts."""

from __future__ import annotations

import argparse
from pathlib import Path

from gilot_plugin.commands.shared import Subcommands, add_choice, add_lm, add_output, count, positive


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "ablate",
        help="what the score hangs on: ask again without the question, the examples, the system prompt, ...",
        description="Takes parts away from the prompts of an evaluation's tasks, lets the model answer, and "
        "scores the answers with lm-eval's own filters and metrics. Works for any run of lm-eval 0.4.10 or "
        "later, with any of its model classes. Killed or interrupted, the same command goes on where it was. "
        "`gilot run --gilot_args ablate=auto` does it right after an evaluation.",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of an evaluation")
    add_choice(parser, "--run_model")
    parser.add_argument("--tasks", metavar="NAME,...", help="only these tasks (default: all)")
    parser.add_argument(
        "--arms",
        nargs="+",
        action="extend",
        default=[],
        metavar="ARM,...",
        help="what is taken away or changed, one at a time: system, description, shots, shot_2, each_shot, "
        "question, stem (a question without the choices that it lists, which stay), choices (those), "
        "all_choices (those of the examples, too), lead_in, only_question, shot_order, {shots_of: TASK}, "
        "{regex: PATTERN}, {function: package.module:name} (default: every part that the task has)",
    )
    parser.add_argument("--n", type=positive, help="so many samples of each task, at random (default: all)")
    parser.add_argument(
        "--seed", type=count, default=0, help="of that draw and of the order of shots (default: 0)"
    )
    parser.add_argument(
        "--cluster", metavar="FIELD", help="field of the documents that tells which ones belong together"
    )
    add_lm(parser, model="the run's", batch_size=" (default: the run's)")
    add_output(parser, "DIR", "beside the run's samples")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ConfigError: An option is wrong, or a task or model cannot be loaded.
        GilotError: Something failed.
    """
    # Whatever it needs takes seconds to import, and --help does without.
    from gilot_plugin.commands.ablate_run import run_ablation

    return run_ablation(options)
