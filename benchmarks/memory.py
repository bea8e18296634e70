"""Peak memory of one attribution beyond the model.

    python benchmarks/memory.py --hypotheses regenerate [--memory_budget 1GiB] [--length 4096]

A process of its own, because on a CPU what earlier work left in the heap would hide what this one takes. On a
GPU the allocator knows its peak.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch
from ours import MODES, run, token_config
from rich.console import Console
from rich.table import Table
from workload import Workload, add_options, load

#: Seconds between two looks at the memory.
_INTERVAL = 0.002

#: Tokens that the model may read where the units of a long prompt are found by measuring.
UNIT_BUDGET = 20_000

MIB = 2**20


def report(workload: Workload, options: argparse.Namespace, console: Console) -> None:
    """Print the peak of each mode, of long prompts too if these are asked for."""
    budget = options.memory_budget
    table = Table("", "prompt, tokens", "peak beyond the model, MiB", "memory_budget")
    for length in (len(workload.token_ids), *((1024, 4096) if options.long else ())):
        for mode in MODES:
            peak = _peak(workload, options, mode, length)
            table.add_row(mode, str(length), f"{peak / MIB:,.0f}", budget or "none")
    console.print(table)
    if options.long:
        console.print(f"Beyond the first prompt: units=auto, {UNIT_BUDGET:,} tokens.")


def _peak(workload: Workload, options: argparse.Namespace, mode: str, length: int) -> int:
    if workload.device.type == "cuda":
        return measure(workload, mode, length, options.memory_budget)
    given = {name: getattr(options, name) for name in ("model", "shape", "dtype", "memory_budget")}
    given |= {"device": str(workload.device), "beams": workload.num_beams, "tokens": workload.max_new_tokens}
    command = [sys.executable, str(Path(__file__)), "--hypotheses", mode, "--length", str(length)]
    command += [part for name, value in given.items() if value for part in (f"--{name}", str(value))]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    return int(json.loads(done.stdout.splitlines()[-1]))


def measure(workload: Workload, mode: str, length: int, budget: str | None) -> int:
    """Peak bytes of one attribution beyond those that the model takes."""
    settings = {"memory_budget": budget} if budget else {}
    if length != len(workload.token_ids):
        workload = workload.with_prompt(workload.long_prompt(length))
        settings |= {"units": "auto", "unit_budget": UNIT_BUDGET}
    config = token_config(workload, mode, **settings)
    # What a first attribution loads for good is no part of it.
    tiny = config.model_copy(
        update={"num_beams": 1, "max_new_tokens": 1, "units": "line", "unit_budget": None}
    )
    run(workload.with_prompt(workload.token_ids[:8]), tiny)
    gc.collect()
    if workload.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(workload.device)
        before = torch.cuda.memory_allocated(workload.device)
        run(workload, config)
        return int(torch.cuda.max_memory_allocated(workload.device) - before)
    return _peak_growth(lambda: run(workload, config))


def _peak_growth(call: Callable[[], object]) -> int:
    """By how many bytes the resident memory of this process grows during a call, at most."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    memory_info = psutil.Process().memory_info
    before = peak = memory_info().rss
    finished = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not finished.is_set():
            peak = max(peak, memory_info().rss)
            time.sleep(_INTERVAL)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        call()
    finally:
        finished.set()
        watcher.join()
    return int(peak - before)


def main() -> None:
    """Measure one mode and print its bytes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--hypotheses", choices=MODES, required=True)
    parser.add_argument("--memory_budget")
    parser.add_argument("--length", type=int, help="tokens of the prompt")
    options = parser.parse_args()
    workload = load(options)
    length = options.length or len(workload.token_ids)
    print(json.dumps(measure(workload, options.hypotheses, length, options.memory_budget)))


if __name__ == "__main__":
    main()
