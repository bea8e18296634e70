"""The reference of the command line, from its parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping

from cells import cell, code, table

from gilot_plugin import cli
from gilot_plugin.harness.entry.command import make_parser


def command_options(notes: Mapping[str, str]) -> str:
    """Every command with its options, and the page's notes on them."""
    parser = cli._parser()
    commands = next(found for found in parser._actions if isinstance(found, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in commands._choices_actions}
    if unknown := set(notes) - set(commands.choices):
        raise KeyError(f"notes on what is no command: {sorted(unknown)}")
    lines: list[str] = []
    for name, found in commands.choices.items():
        lines += [f"## gilot {name}", "", _sentence(found.description or helps[name]), ""]
        actions = _own(make_parser()) if name == "run" else found._actions
        if name == "run":
            lines += ["Every option of `lm_eval run`, which `gilot run --help` lists, and:", ""]
        else:
            lines += ["```text", _usage(found), "```", ""]
        lines += table(("argument", "what it is"), map(_row, filter(_shown, actions)))
        if name in notes:
            lines += [notes[name].strip(), ""]
    return "\n".join(lines)


def _own(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return next(group for group in parser._action_groups if "GiLOT" in (group.title or ""))._group_actions


def _shown(action: argparse.Action) -> bool:
    return action.help is not argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)


def _row(action: argparse.Action) -> tuple[str, str]:
    names = ", ".join(code(option) for option in action.option_strings) or code(action.metavar or action.dest)
    choices = f" ({', '.join(map(str, action.choices))})" if action.choices else ""
    return names, cell(f"{action.help or ''}{choices}" % {**vars(action), "prog": "gilot"})


def _usage(parser: argparse.ArgumentParser) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    return formatter.format_help().strip()


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return f"{text[0].upper()}{text[1:].rstrip('.')}.".replace("<", "&lt;")


def exit_codes(notes: Mapping[str, str]) -> str:
    """The codes, as the function that returns them tells them, with the page's notes on each."""
    return "\n".join(table(("code", "means", "what to do"), _codes(notes)))


def _codes(notes: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    told = " ".join(str(cli.main.__doc__).partition("Returns:")[2].split()).rstrip(".")
    found = dict(re.findall(r"(\d) ([^;]+)", told))
    expected = {str(number) for number in (cli.DONE, cli.FAILED, cli.WRONG, cli.UNEXPLAINED)}
    if found.keys() != expected or set(map(str, notes)) != expected:
        raise KeyError(f"exit codes {sorted(expected)}, told are {sorted(found)}, noted {sorted(notes)}")
    for number, meaning in found.items():
        yield number, cell(meaning), next(note for key, note in notes.items() if str(key) == number).strip()
