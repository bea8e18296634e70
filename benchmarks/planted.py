"""How often each attribution method finds causes that are known, because models were trained to follow them.

    python benchmarks/planted.py [--vary one] [--prompts 200] [--methods ot kl] [--output FILE] [--markdown]

Trains tiny models, in seconds, whose answer depends on known tokens of the prompt only: ``planted_tasks.py``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import transformers
from planted_models import ARCHITECTURES, make_tokenizer, train
from planted_recall import (
    USUAL,
    VARIED,
    Recall,
    Setting,
    distance_names,
    prompt_method_names,
    recall,
)
from planted_tasks import TASKS, Task, is_content
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gilot_plugin.errors import ConfigError
from gilot_plugin.plugins.offers import attribution_methods

#: What a method has to find to pass, as a share of the prompts.
_ENOUGH = 0.99


class Sheet(NamedTuple):
    """A table, however it is printed."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def main() -> None:
    """Train, measure, print."""
    options = _options()
    transformers.logging.set_verbosity_error()
    console = Console(width=150)
    started = time.perf_counter()
    results = _measure(options, console)
    for architecture in options.architectures:
        here = [result for result in results if result.architecture == architecture]
        for sheet in (_by_method(here), _by_setting(here), _worst(here)):
            if len(sheet.rows) == 1:  # chance alone: nothing of it was asked for
                continue
            named = sheet._replace(title=f"{architecture}: {sheet.title}")
            print(f"{_markdown(named)}\n") if options.markdown else console.print(_rich(named))
    if options.output is not None:
        lines = [
            {**result._asdict(), "setting": asdict(result.setting), "interval": result.interval()}
            for result in results
        ]
        options.output.write_text(json.dumps(lines, indent=1) + "\n")
    console.print(f"{time.perf_counter() - started:.0f} s.")


def _measure(options: argparse.Namespace, console: Console) -> list[Recall]:
    settings = VARIED[options.vary]()
    wanted = options.methods or tuple(attribution_methods())
    tokenizer = make_tokenizer()
    results: list[Recall] = []
    refused: dict[str, str] = {}
    for task in TASKS:
        prompts = task.draw(np.random.default_rng(options.seed + 1), options.prompts)
        for architecture in options.architectures:
            trained = train(task, architecture, options.seed)
            console.print(
                f"{task.name}, {architecture}: {trained.steps} batches; {100 * trained.accuracy:.2f} % right "
                f"to full prompts, {100 * trained.ablated_accuracy:.2f} % with tokens taken away."
            )
            steps = track(_plan(settings, wanted), task.name, console=console, transient=True)
            for setting, methods in steps:
                if not setting.shows(task):
                    continue
                try:
                    results += recall(task, architecture, trained.model, tokenizer, prompts, setting, methods)
                except ConfigError as error:
                    refused[f"{', '.join(methods)} ({architecture})"] = str(error)
    for names, why in refused.items():
        console.print(f"Left out: {names}: {why}")
    return results


def _plan(settings: Iterable[Setting], wanted: Sequence[str]) -> list[tuple[Setting, tuple[str, ...]]]:
    """What is measured together: distances in every setting, other methods where only the absence differs."""
    distances = tuple(name for name in distance_names() if name in wanted)
    alone = [name for name in prompt_method_names() if name in wanted]
    plan = []
    for setting in settings:
        if setting.ground_cost != USUAL.ground_cost:
            measured = tuple(name for name in distances if attribution_methods()[name].transports)
        else:
            measured = distances
        if measured:
            plan.append((setting, measured))
        if setting == Setting(absence=setting.absence):
            # One by one: what is not installed, or cannot explain a model, takes no other method with it.
            plan += [(setting, (name,)) for name in alone]
    return plan


def _by_method(results: Sequence[Recall]) -> Sheet:
    usual = [result for result in results if result.setting == USUAL]
    return Sheet(
        f"causes ranked first, % of the prompts ({USUAL}); after /: all causes before all other tokens",
        ("method", *(task.name for task in TASKS)),
        _rows(usual, lambda result: result.method, lambda found: _cell(found[0], every=True)),
    )


def _by_setting(results: Sequence[Recall]) -> Sheet:
    transport = [result for result in results if result.method == "ot"]
    return Sheet(
        "causes that ot ranks first, % of the prompts",
        ("setting", *(task.name for task in TASKS)),
        _rows(transport, lambda result: str(result.setting), lambda found: _cell(found[0])),
    )


def _worst(results: Sequence[Recall]) -> Sheet:
    def cell(found: Sequence[Recall]) -> str:
        worst = min(found, key=lambda result: result.rate)
        below = sum(result.rate < _ENOUGH for result in found)
        return f"{_cell(worst)}; {below} of {len(found)}"

    return Sheet(
        f"causes ranked first in the worst setting, % of the prompts; settings below {100 * _ENOUGH:g} %",
        ("method", *(task.name for task in TASKS)),
        _rows(results, lambda result: result.method, cell),
    )


def _rows(
    results: Sequence[Recall], name: Callable[[Recall], str], cell: Callable[[Sequence[Recall]], str]
) -> list[tuple[str, ...]]:
    """A row for each name, a column for each task."""
    rows = []
    for row in dict.fromkeys(map(name, results)):
        here = [result for result in results if name(result) == row]
        found = [[result for result in here if result.task == task.name] for task in TASKS]
        rows.append((row, *(cell(some) if some else "" for some in found)))
    return [("by chance", *map(_chance, TASKS)), *rows]


def _cell(result: Recall, *, every: bool = False) -> str:
    low, high = (100 * bound for bound in result.interval())
    share = f"{100 * result.rate:.1f} ({low:.1f} to {high:.1f})"
    return f"{share} / {100 * result.every / result.prompts:.1f}" if every else share


def _chance(task: Task) -> str:
    prompts = task.draw(np.random.default_rng(0), 1)
    return f"{100 * prompts.causes.sum() / is_content(prompts.token_ids).sum():.1f}"


def _rich(sheet: Sheet) -> Table:
    table = Table(*sheet.columns, title=sheet.title)
    for row in sheet.rows:
        table.add_row(*row)
    return table


def _markdown(sheet: Sheet) -> str:
    header = (sheet.columns, ("---", *("---:" for _ in sheet.columns[1:])))
    return "\n".join((f"{sheet.title}\n", *(f"| {' | '.join(row)} |" for row in (*header, *sheet.rows))))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--vary",
        choices=VARIED,
        default="all",
        help="how many settings may differ from the default and from the paper's at a time",
    )
    parser.add_argument("--prompts", type=int, default=200, help="of each task")
    parser.add_argument(
        "--methods", nargs="+", choices=tuple(attribution_methods()), help="without it, every one"
    )
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--seed", type=int, default=0, help="of weights and prompts")
    parser.add_argument("--output", type=Path, help="JSON file of all numbers")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    return parser.parse_args()


if __name__ == "__main__":
    main()
