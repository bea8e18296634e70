"""Each way to find the hypotheses, against the published procedure and the machine's matrix products."""

from __future__ import annotations

import torch
from ours import MODES, Run, flop, repeat, token_config
from published import SampledCost, time_serially
from rates import TOKENS, layer_rate, square_rate
from rich.console import Console
from rich.table import Table
from timing import number, spread, times
from workload import Workload

_GIGA = 1e9


def report(workload: Workload, repeats: int, sampled: int, console: Console) -> None:
    """Print both tables."""
    ours = {mode: repeat(workload, token_config(workload, mode), repeats) for mode in MODES}
    theirs = time_serially(
        workload.model,
        workload.token_ids,
        workload.num_beams,
        workload.max_new_tokens,
        sampled or len(workload.token_ids),
    )
    _against_published(ours, theirs, console)
    _against_machine(workload, ours, console)


def _against_published(ours: dict[str, list[Run]], theirs: SampledCost, console: Console) -> None:
    table = Table(
        "", "model, s", "transport, s", "total, s", "times faster", title="Against the published procedure"
    )
    table.add_row(
        "published, serial",
        number(theirs.model_total),
        number(theirs.transport_total),
        spread(theirs.totals),
        "1",
    )
    for mode, runs in ours.items():
        totals = [run.seconds for run in runs]
        table.add_row(
            f"gilot_plugin, {mode}",
            spread([run.model_seconds for run in runs]),
            spread([run.seconds - run.model_seconds for run in runs]),
            spread(totals),
            times(theirs.totals, totals),
        )
    console.print(table)
    console.print(
        "The published procedure was timed on the full prompt and "
        f"{len(theirs.model)} of {theirs.units} units, evenly spaced: {spread(theirs.model)} s a unit of "
        f"generation and scoring, {spread(theirs.transport)} s of IPOT, which runs in numpy. Its times are "
        "those, scaled to all units, and its spread is over the units timed. Our transport is what was left "
        "to do when the model was done: it is solved in threads beside it."
    )


def _against_machine(workload: Workload, ours: dict[str, list[Run]], console: Console) -> None:
    dtypes = dict.fromkeys((torch.float32, torch.bfloat16, workload.model.dtype))
    rates = {dtype: (square_rate(dtype, workload.device), layer_rate(workload, dtype)) for dtype in dtypes}
    for dtype, (square, layers) in rates.items():
        console.print(
            f"Matrix products in {str(dtype).removeprefix('torch.')}: {square / _GIGA:,.0f} GFLOP/s for "
            f"large square ones, {layers / _GIGA:,.0f} for the model's shapes with {TOKENS} tokens."
        )
    best = max(rates[workload.model.dtype])
    table = Table(
        "",
        "model tokens",
        "TFLOP",
        "tokens a second",
        "GFLOP/s",
        "share of the rate",
        "model time / bound",
        title="Against the machine",
    )
    for mode, runs in ours.items():
        work = flop(workload, token_config(workload, mode), runs[0])
        seconds = [run.model_seconds for run in runs]
        table.add_row(
            mode,
            f"{runs[0].model_tokens:,}",
            f"{work / 1e12:.2f}",
            spread([runs[0].model_tokens / second for second in seconds]),
            spread([work / second / _GIGA for second in seconds]),
            f"{100 * work / best / min(seconds):.0f} % at best",
            spread([second * best / work for second in seconds]),
        )
    console.print(table)
    console.print(
        f"{workload.layer_flop / _GIGA:.3f} GFLOP a token in the layers, {workload.head_flop / _GIGA:.3f} in "
        "the output layer where logits are read; attention's own products are not counted. The bound is all "
        "of it at the best rate above in the model's precision."
    )
