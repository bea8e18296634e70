"""``gilot run``: an evaluation by lm-eval, of which samples are explained."""

from __future__ import annotations

from rich.console import Console

from gilot_plugin.commands.shared import DONE, UNEXPLAINED, Subcommands


def add_parser(commands: Subcommands) -> None:
    """List the command; its options are lm-eval's, whose parser reads them."""
    commands.add_parser(
        "run",
        help="run an lm-eval evaluation and explain samples of it (takes every option of lm_eval run)",
        add_help=False,
    )


def run(arguments: list[str]) -> int:
    """Run the command.

    Args:
        arguments: All that follows its name.

    Returns:
        0 done; 3 the scores are complete, and not all of the chosen samples were explained, a plugin failed
        while it looked on, or a part of an ablation did.

    Raises:
        ConfigError: An option or a setting is wrong.
        GilotError: Something failed.
    """
    from gilot_plugin.harness.entry.command import make_parser, run_command
    from gilot_plugin.harness.entry.summary import print_summary
    from gilot_plugin.reports.ablation import show_ablations

    if not arguments:
        make_parser().print_help()
        return DONE
    attachment = run_command(arguments)
    complete = print_summary(attachment)
    show_ablations(attachment.ablations, Console(stderr=True))
    return DONE if complete and attachment.all_ablated else UNEXPLAINED
