"""``gilot explain``: attributions for an evaluation that ran before."""

from __future__ import annotations

import argparse
from pathlib import Path

from gilot_plugin.commands.shared import (
    DONE,
    UNEXPLAINED,
    Subcommands,
    add_choice,
    add_lm,
    add_settings,
    named_lm,
)


def add_parser(commands: Subcommands) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "explain",
        help="explain samples of an evaluation that lm-eval ran before, without this package",
        description="Explains samples from what lm-eval logged (`--log_samples`, 0.4.10 or later): prompts, "
        "choices, targets and metrics are those of the log, and nothing is scored again. The artifacts are "
        "those of `gilot run`, beside the log.",
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="output folder of an evaluation")
    add_choice(parser, "--run_model")
    parser.add_argument("--tasks", metavar="NAME,...", help="only these tasks or groups (default: all)")
    add_settings(parser)
    add_lm(parser, model="the run's, or hf", batch_size="; attributions find their own")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0 done; 3 not all of the chosen samples were explained.

    Raises:
        ConfigError: An option or a setting is wrong, or the log does not tell what is needed; said before
            a model loads.
        GilotError: Something failed.
    """
    from gilot_plugin.artifacts.evaluations import find_evaluation, named_tasks
    from gilot_plugin.errors import ConfigError
    from gilot_plugin.settings.sources import command_sources, given_settings, task_config

    given = given_settings(command_sources(options.gilot, options.gilot_args).values)
    if given.get("ablate") is not None:
        raise ConfigError(
            "ablate has no effect here: `gilot ablate` does that for an evaluation that ran before"
        )
    past = find_evaluation(options.run_dir, model=options.run_model, date=options.date)
    rows = {task: past.rows(task) for task in named_tasks(past, options.tasks)}
    if missing := [task for task, own in rows.items() if not own]:
        raise ConfigError(
            f"{past.folder} has no samples of {', '.join(missing)}: lm-eval logs them with --log_samples"
        )
    for task, config in past.tasks.items():
        if task in rows:
            metadata = config.get("metadata")
            own = metadata.get("gilot") if isinstance(metadata, dict) else None
            task_config(task, own, given, config.get("output_type"))

    from gilot_plugin.harness.entry.attach import Attachment
    from gilot_plugin.harness.entry.loading import load_explained, model_source
    from gilot_plugin.harness.entry.past import as_hf, explain_past
    from gilot_plugin.harness.entry.summary import print_summary
    from gilot_plugin.settings.selection import functions_in
    from gilot_plugin.strategies.functions import load_function

    for place in functions_in(given.get("select")):
        load_function(place)
    source = model_source(past.arguments, **named_lm(options))
    source = as_hf(source, named=options.model is not None)
    attachment = Attachment(given, None)
    found, complete = explain_past(
        past, rows, source, load_explained(source), given, include_path=options.include_path
    )
    attachment.runs.append(found)
    attachment.interrupted = not complete
    return DONE if print_summary(attachment) else UNEXPLAINED
