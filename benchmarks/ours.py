"""Attributions by this package, timed, and how many operations they needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from timing import timed
from workload import Workload

import gilot_plugin

MODES = ("regenerate", "shared", "response")


@dataclass(frozen=True, slots=True)
class Run:
    """One attribution.

    Attributes:
        attribution: What came out.
        seconds: Wall-clock time of all of it.
    """

    attribution: gilot_plugin.Attribution
    seconds: float

    @property
    def model_seconds(self) -> float:
        """Seconds that the model ran."""
        return self.attribution.diagnostics.seconds["model"]

    @property
    def model_tokens(self) -> int:
        """Tokens that went through the model."""
        return self.attribution.diagnostics.model_tokens


def token_config(workload: Workload, mode: str, **settings: Any) -> gilot_plugin.GilotConfig:
    """Every token of the prompt, by transport alone: what the published procedure computes."""
    return gilot_plugin.GilotConfig(
        **{
            "preset": "paper",
            "num_beams": workload.num_beams,
            "max_new_tokens": workload.max_new_tokens,
            "hypotheses": mode,
            "units": "token",
            "scope": "all",
            "methods": ("ot",),
            **settings,
        }
    )


def run(workload: Workload, config: gilot_plugin.GilotConfig, response: list[int] | None = None) -> Run:
    """Attribute the prompt once; a response that is given need not be found."""
    attribution, seconds = timed(
        lambda: gilot_plugin.attribute(
            workload.model, workload.tokenizer, workload.token_ids, config, response=response
        ),
        workload.device,
    )
    return Run(attribution, seconds)


def repeat(
    workload: Workload, config: gilot_plugin.GilotConfig, repeats: int, response: list[int] | None = None
) -> list[Run]:
    """Attribute the prompt several times, after a small attribution that warms up."""
    run(workload, config.model_copy(update={"num_beams": 2, "max_new_tokens": 2, "units": "line"}))
    return [run(workload, config, response) for _ in range(repeats)]


def flop(workload: Workload, config: gilot_plugin.GilotConfig, done: Run) -> int:
    """Floating-point operations of the matrix products that the attribution needed.

    Two a weight of the layers for each token that the model read, and two a weight of the output layer for
    each token whose logits are read: the last one of a prompt and all of its hypotheses, tokens that several
    hypotheses begin with counted once in ``shared`` and ``response``, where they are known. The products of
    queries, keys and values are left out.
    """
    rows = len(done.attribution.units) + 1
    searched = config.num_beams * config.max_new_tokens
    nodes = {
        hypothesis.token_ids[:length]
        for hypothesis in done.attribution.hypotheses
        for length in range(1, len(hypothesis.token_ids) + 1)
    }
    if config.hypotheses == "regenerate":
        read = rows * (1 + searched)
    elif config.hypotheses == "shared":
        read = rows * (1 + len(nodes)) + 1 + searched
    else:  # a greedy search finds the answer
        read = rows * (1 + len(nodes)) + 1 + config.max_new_tokens
    read = min(read, done.model_tokens)
    return done.model_tokens * workload.layer_flop + read * workload.head_flop
