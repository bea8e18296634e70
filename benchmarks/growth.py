"""How seconds and tokens grow with the prompt, the beams and the steps."""

from __future__ import annotations

from typing import Any

from ours import run, token_config
from rich.console import Console
from rich.table import Table
from timing import number
from workload import Workload

#: Prompt tokens; the second ones if long prompts are asked for.
LENGTHS = (48, 192, 768)
LONG_LENGTHS = (1536, 4096)


def report(workload: Workload, quick: bool, long: bool, unit_budget: int, console: Console) -> None:
    """Print one table; each row differs from the first of its block in one thing."""
    lengths = LENGTHS[:2] if quick else LENGTHS + (LONG_LENGTHS if long else ())
    beams, steps = ((1, 4), (2, 5)) if quick else ((1, 4, 16), (2, 5, 20))
    table = Table("", "prompt", "K", "J", "units", "model tokens", "model, s", "total, s", "tokens a second")
    for mode in ("regenerate", "response"):
        for length in lengths:
            settings: dict[str, Any] = {"units": "auto", "unit_budget": unit_budget, "scope": "content"}
            _add(table, f"prompt, {mode}", workload.with_prompt(workload.long_prompt(length)), mode, settings)
        table.add_section()
    words: dict[str, Any] = {"units": "word", "scope": "content"}
    for count in beams:
        _add(table, "beams", workload, "regenerate", {**words, "num_beams": count, "max_new_tokens": 5})
    table.add_section()
    for count in steps:
        _add(table, "steps", workload, "regenerate", {**words, "num_beams": 4, "max_new_tokens": count})
    console.print(table)
    console.print(
        f"Prompts: units=auto, which may spend {unit_budget:,} model tokens, on questions in a row."
    )


def _add(table: Table, name: str, workload: Workload, mode: str, settings: dict[str, Any]) -> None:
    config = token_config(workload, mode, **settings)
    done = run(workload, config)
    table.add_row(
        name,
        str(len(workload.token_ids)),
        str(config.num_beams),
        str(config.max_new_tokens),
        str(len(done.attribution.units)),
        f"{done.model_tokens:,}",
        number(done.model_seconds),
        number(done.seconds),
        f"{done.model_tokens / done.model_seconds:,.0f}",
    )
