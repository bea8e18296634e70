"""Whether half precision and a compiled forward pass keep the ranking, and what they save."""

from __future__ import annotations

import copy
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from ours import Run, repeat, run, token_config
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from timing import spread, times
from workload import Workload

QUESTIONS = (
    "A bakery sells rolls in bags of six. It sold nine bags. How many rolls was that?",
    "Name one animal that can fly.",
    "The door is not open. Is the door open or closed?",
    "Write one sentence about the sea in winter.",
)
#: What hypotheses look like here: four prompts are attributed in each precision.
SEARCH = {"num_beams": 4, "max_new_tokens": 5}


def report(workload: Workload, quick: bool, slow: bool, console: Console) -> None:
    """Print rank correlations and times; of float16 on a CPU, which seldom has arithmetic for it, if slow."""
    questions = QUESTIONS[:2] if quick else QUESTIONS
    prompts = [workload.tokenizer(f"Question: {question}\nAnswer:")["input_ids"] for question in questions]
    table = Table(
        "", "mode", "rank correlation with float32", "model, s a prompt", "times faster than float32"
    )
    for mode in ("regenerate", "response"):
        reference: list[Run] = []
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            if dtype == torch.float16 and workload.device.type == "cpu" and not slow:
                continue
            model = copy.deepcopy(workload.model).to(dtype)
            found = _attribute(replace(workload, model=model), prompts, mode)
            reference = reference or found
            agreement = [_correlation(one, other) for one, other in zip(found, reference, strict=True)]
            seconds = [one.model_seconds for one in found]
            faster = [
                other.model_seconds / one.model_seconds for one, other in zip(found, reference, strict=True)
            ]
            table.add_row(
                str(dtype).removeprefix("torch."), mode, _range(agreement), spread(seconds), spread(faster)
            )
        table.add_section()
    console.print(table)
    console.print(
        f"Spearman's correlation of the transport scores of each prompt's words, {len(prompts)} prompts, "
        f"K={SEARCH['num_beams']}, J={SEARCH['max_new_tokens']}."
    )


def report_compiled(workload: Workload, repeats: int, console: Console) -> None:
    """Print what ``torch.compile`` does to the model's forward pass: the first time, and after."""
    config = token_config(workload, "regenerate", **SEARCH)
    plain = repeat(workload, config, repeats)
    model = copy.deepcopy(workload.model)
    model.forward = torch.compile(model.forward, dynamic=True)
    compiled = replace(workload, model=model)
    try:
        first = run(compiled, config)
        after = [run(compiled, config) for _ in range(repeats)]
    except Exception as error:  # it may fail in any way that a compiler has
        console.print(f"torch.compile does not work here: {type(error).__name__}: {str(error)[:300]}")
        return
    table = Table("", "model, s", "times faster", "rank correlation")
    table.add_row("as it is", spread([one.model_seconds for one in plain]), "1", "1")
    compiled_seconds = [one.model_seconds for one in after]
    table.add_row(
        f"compiled (the first took {first.model_seconds:.0f} s)",
        spread(compiled_seconds),
        times([one.model_seconds for one in plain], compiled_seconds),
        f"{_correlation(after[-1], plain[-1]):.4f}",
    )
    console.print(table)


def _attribute(workload: Workload, prompts: list[list[int]], mode: str) -> list[Run]:
    config: Any = token_config(workload, mode, **SEARCH, units="word")
    run(workload.with_prompt(prompts[1]), config)  # warms up
    return [run(workload.with_prompt(prompt), config) for prompt in prompts]


def _correlation(one: Run, other: Run) -> float:
    return float(spearmanr(one.attribution.scores["ot"], other.attribution.scores["ot"]).statistic)


def _range(values: list[float]) -> str:
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"
