"""What optimal transport costs beside a distance that needs none, on the same distributions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from timing import spread, times
from workload import Workload

import gilot_plugin

#: The default settings with every token taken away, and what differs from them.
MODES: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "20 positions": {"max_new_tokens": 20},
    "shared": {"hypotheses": "shared"},
}

#: Prompts: that of the other sections but for its last tokens, where many words may follow, and questions.
_SHORTER = 7


def report(workload: Workload, repeats: int, console: Console) -> None:
    """Print a table; seconds of the processor do not depend on what else the machine does."""
    table = Table("", "prompt", "outcomes", "kl, s", "ot, s", "times as much", "of the processor")
    length = len(workload.token_ids) - _SHORTER
    prompts = {"cut off": workload.token_ids[:length], "questions": workload.long_prompt(length)}
    _seconds(workload, prompts["cut off"], "kl", {})  # warms up
    for mode, settings in MODES.items():
        for name, token_ids in prompts.items():
            walls: dict[str, list[float]] = {"kl": [], "ot": []}
            processors: dict[str, list[float]] = {"kl": [], "ot": []}
            for _ in range(repeats):
                for method in walls:
                    wall, processor, found = _seconds(workload, token_ids, method, settings)
                    walls[method].append(wall)
                    processors[method].append(processor)
            sizes = found.diagnostics.support_size
            table.add_row(
                *(mode, name, f"{sum(sizes) / len(sizes):,.0f}"),
                *(spread(walls["kl"]), spread(walls["ot"])),
                *(times(walls["ot"], walls["kl"]), times(processors["ot"], processors["kl"])),
            )
    console.print(table)
    console.print(f"Default settings, every one of {length} tokens taken away.")


def _seconds(
    workload: Workload, token_ids: list[int], method: str, settings: Mapping[str, Any]
) -> tuple[float, float, gilot_plugin.Attribution]:
    """Seconds of the clock and of the processor, and the attribution."""
    config = gilot_plugin.GilotConfig(units="token", scope="all", methods=[method], **settings)
    started, used = time.perf_counter(), time.process_time()
    found = gilot_plugin.attribute(workload.model, workload.tokenizer, token_ids, config)
    return time.perf_counter() - started, time.process_time() - used, found
