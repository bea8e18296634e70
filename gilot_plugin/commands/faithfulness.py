"""``gilot faithfulness``: does the answer change where an attribution says that it hangs?"""

from __future__ import annotations

import argparse
from pathlib import Path

from gilot_plugin.commands.shared import (
    Subcommands,
    add_choice,
    add_limit,
    add_output,
    add_settings,
    count,
    positive,
)


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "faithfulness",
        help="remove words in the order of their scores: does the model's answer follow? (against controls)",
        description="Removes the units of each prompt in the order of their scores, most and least relevant "
        "first, lets the model answer, and compares each method with rankings that know nothing. Killed or "
        "interrupted, the same command goes on where it was.",
    )
    parser.add_argument("run_dir", type=Path, nargs="?", metavar="RUN_DIR", help="output folder of a run")
    add_choice(parser, "--run_model")
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help='instead of a run: one prompt a line, or a .jsonl of {"prompt": TEXT} or {"messages": [...]}',
    )
    parser.add_argument(
        "--apply_chat_template", action="store_true", help="with --prompts: each is a message of the user"
    )
    add_settings(parser, "with --prompts: ")
    parser.add_argument("--model", help="lm-eval's model class (default: the run's, else hf)")
    parser.add_argument("--model_args", help="its arguments, e.g. pretrained=gpt2 (default: the run's)")
    parser.add_argument("--device", help="where to load the model (default: the run's)")
    parser.add_argument("--batch_size", help="of lm-eval's model; attributions find their own")
    parser.add_argument(
        "--methods",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="attribution methods to compute now, beside those that the run has scores by",
    )
    parser.add_argument(
        "--absence",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="how units are removed, e.g. delete,mask (default: as in the run)",
    )
    parser.add_argument(
        "--quantities",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="what is measured: of answers similarity (which costs most), logprob and ot, of choices chosen, "
        "margin and ot (default: all)",
    )
    parser.add_argument(
        "--embedder",
        metavar="PATH_OR_NAME",
        help="sentence-transformers model that compares answers (default: all-MiniLM-L6-v2)",
    )
    parser.add_argument(
        "--max_answer_tokens", type=positive, default=256, help="longest answer (default: 256)"
    )
    parser.add_argument(
        "--random_rankings", type=positive, default=5, help="random rankings a sample (default: 5)"
    )
    add_limit(parser, "all", positive)
    parser.add_argument("--seed", type=count, default=0, help="of rankings, ties and resampling (default: 0)")
    parser.add_argument(
        "--randomize_model",
        action="store_true",
        help="also compare the attributions with those of the same model with random weights",
    )
    add_output(parser, "DIR", "beside the run or the prompts")
    parser.set_defaults(command=run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ConfigError: An option or a file is wrong; said before a model loads.
        GilotError: Something failed.
    """
    # Whatever it needs takes seconds to import, and --help does without.
    from gilot_plugin.commands.faithfulness_run import run_faithfulness

    return run_faithfulness(options)
