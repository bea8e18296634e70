"""What explaining some of the samples adds to a whole lm-eval run.

    python benchmarks/evaluation_cost.py [--limit 32] [--share 0.05] [--device cuda]

Runs tasks of the example suite with and without attributions, in one process, with the model loaded once.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval
import transformers
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from rich.console import Console
from rich.table import Table
from timing import number, spread, timed
from workload import add_options, load

import gilot_plugin

SUITE = Path(__file__).parents[1] / "examples" / "suite"
TASKS = ("gilot_short_answers", "gilot_two_shot_choices")


def main() -> None:
    """Measure and print one table."""
    options = _options()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    workload = load(options)
    settings = {
        "model": HFLM(pretrained=workload.model, tokenizer=workload.tokenizer, batch_size=options.batch_size),
        "task_manager": TaskManager(include_path=str(SUITE), include_defaults=False),
        "apply_chat_template": options.chat,
        "bootstrap_iters": 0,
    }
    table = Table(
        "task", "samples", "explained", "without, s", "with, s", "added, %", "s a sample", "s an explanation"
    )
    for task in options.tasks_measured or TASKS:
        _add(table, task, settings, options)
    console = Console(width=132)
    console.print(
        f"{workload.model.device}, {str(workload.model.dtype).removeprefix('torch.')}, "
        f"K={workload.num_beams}, J={workload.max_new_tokens}, units: {options.units}, "
        f"hypotheses: {options.hypotheses}, "
        f"{100 * options.share:g} % of the samples, at least one. Several values: median (least to most)."
    )
    console.print(table)


def _add(table: Table, task: str, settings: dict[str, Any], options: argparse.Namespace) -> None:
    """Measure a task."""
    explained = max(1, round(options.share * options.limit))
    config = gilot_plugin.GilotConfig(
        preset="paper",
        num_beams=options.beams,
        max_new_tokens=options.tokens,
        units=options.units,
        hypotheses=options.hypotheses,
        select={"strategy": "random", "n": explained},
    )
    evaluate: Callable[..., Any] = partial(lm_eval.simple_evaluate, tasks=[task], **settings)
    explain = partial(gilot_plugin.simple_evaluate, tasks=[task], gilot=config, **settings)
    explain(limit=1)  # reads the task's files and warms up
    without, with_them, samples = [], [], []
    for _ in range(options.repeats):
        without.append(timed(lambda: evaluate(limit=options.limit))[1])
        results, seconds = timed(lambda: explain(limit=options.limit))
        with_them.append(seconds)
        samples = results["samples"][task]
    records = [sample["gilot"] for sample in samples if "gilot" in sample]
    done = [record for record in records if record["status"] == "ok"]
    if len(done) != explained:
        raise SystemExit(f"{task}: {len(done)} of {explained} samples were explained")
    added = [full - bare for bare, full in zip(without, with_them, strict=True)]
    table.add_row(
        task,
        str(len({sample["doc_id"] for sample in samples})),
        str(explained),
        spread(without),
        spread(with_them),
        spread([100 * more / bare for more, bare in zip(added, without, strict=True)]),
        number(min(without) / options.limit),
        spread([more / explained for more in added]),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.set_defaults(beams=4, tokens=5)
    parser.add_argument(
        "--task", action="append", dest="tasks_measured", choices=TASKS, help="may be repeated"
    )
    parser.add_argument("--limit", type=int, default=32, help="samples of each task; they have 32")
    parser.add_argument("--share", type=float, default=0.05, help="of the samples that are explained")
    parser.add_argument("--units", default="word")
    parser.add_argument("--hypotheses", choices=("regenerate", "shared", "response"), default="regenerate")
    parser.add_argument("--batch_size", type=int, default=8, help="of lm-eval")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--chat", action="store_true", help="apply the chat template")
    return parser.parse_args()


if __name__ == "__main__":
    main()
