"""What the faithfulness benchmark compares: settings of GiLOT, and other methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from gilot_plugin.settings.presets import PRESETS

#: Distances that one attribution gives at no further cost worth mentioning.
DISTANCES = ("ot", "kl", "l2")


@dataclass(frozen=True)
class Arm:
    """Methods under settings.

    Attributes:
        label: What sets it apart in tables.
        settings: As far as they differ from the defaults.
        methods: What is computed.
    """

    label: str
    methods: tuple[str, ...] = DISTANCES
    settings: Mapping[str, Any] = field(default_factory=dict)

    def ranking(self, method: str) -> str:
        """Name of a method under these settings."""
        return f"{method} ({self.label})" if self.label else method


#: What the paper computes, at a horizon that an evaluation can afford: where variation starts.
PAPER = PRESETS["paper"]

#: Beams K and steps J.
GRID = tuple(
    Arm(f"K={beams}, J={steps}", settings={**PAPER, "num_beams": beams, "max_new_tokens": steps})
    for beams, steps in product((1, 4, 20), (1, 5, 20))
)

#: Distances averaged along what the model answered.
ALONG_ANSWER = {"hypotheses": "response", "steps": "mean"}

#: Hypotheses, steps, absence; where the hypotheses are cheap, they look further ahead.
MODES = (
    Arm("default"),
    Arm("shared, K=4, J=5", settings={**PAPER, "hypotheses": "shared"}),
    Arm("shared, K=4, J=20", settings={**PAPER, "hypotheses": "shared", "max_new_tokens": 20}),
    Arm("mean, K=4, J=5", settings={**PAPER, "steps": "mean"}),
    Arm(
        "shared, mean, K=4, J=20",
        settings={**PAPER, "hypotheses": "shared", "steps": "mean", "max_new_tokens": 20},
    ),
    Arm("response, mean, J=5", settings={**PAPER, **ALONG_ANSWER}),
    Arm("response, mean, J=20", settings={**PAPER, **ALONG_ANSWER, "max_new_tokens": 20}),
    # Transport over fewer tokens, which is where the time goes.
    Arm(
        "response, mean, J=20, top_p=0.99",
        settings={**ALONG_ANSWER, "max_new_tokens": 20, "top_p": 0.99},
    ),
    Arm("mask, K=4, J=5", settings={**PAPER, "absence": "mask"}),
    Arm("replace, K=4, J=5", settings={**PAPER, "absence": "replace", "replace_with": " the"}),
)

#: Ground costs of transport, else as in the paper. SmolLM2's output embeddings are its input embeddings.
COSTS = tuple(
    Arm(f"{cost}, K=4, J=5", ("ot",), {**PAPER, "ground_cost": cost})
    for cost in ("centered", "angular", "truncated")
)

#: Distances of the same distributions without a ground cost: what of transport is the geometry?
FLAT = (Arm("K=4, J=5", ("js", "tv"), PAPER),)

#: Other ground costs, and none, by the default settings.
COSTS_ALONG_ANSWER = (
    *(Arm(cost, ("ot",), {"ground_cost": cost}) for cost in ("angular", "truncated")),
    Arm("default", ("tv",)),
)

#: Methods that explain the model's answer by one number: its first 20 tokens. Each is an arm of its own, for
#: some take a hundred times as long as others.
OTHERS = tuple(
    Arm("", (method,), {"hypotheses": "response", "max_new_tokens": 20})
    for method in (
        "logprob",
        "input_x_gradient",
        "attention_rollout",
        "integrated_gradients",
        "lime",
        "kernel_shap",
        "shapley_sampling",
    )
)

#: Many words at once, as LIME takes them away, at the default's horizon: of the answer's log-probability, and
#: of how far outcomes move (``coalitions.py``).
COALITIONS = tuple(
    Arm("J=5", (method,), {"max_new_tokens": 5}) for method in ("logprob", "lime", "lime_ot", "lime_kl")
)

#: Twenty positions of the answer, for what is compared by price.
_FAR = {"hypotheses": "response", "steps": "mean", "max_new_tokens": 20}

#: Which coalitions are worth their price: single units, and sets of absent ones at several budgets. By sets,
#: measures are arms of their own, for what the model reads hangs on them.
SCHEMES = (
    Arm("one at a time", ("logprob", "kl", "ot"), _FAR),
    *(
        Arm(label, (measure,), {**_FAR, **settings})
        for measure in ("logprob", "kl", "ot")
        for label, settings in (
            ("auto", {"scheme": "auto"}),
            *(
                (f"{scheme}, {count}", {"scheme": scheme, "coalitions": count})
                for scheme, counts in (
                    ("auto", (64, 128)),
                    ("shapley", (64, 128)),
                    ("banzhaf", (64, 128)),
                    ("lime", (32, 64, 128)),
                )
                for count in counts
            ),
        )
    ),
)

PARTS: Mapping[str, tuple[Arm, ...]] = {
    "grid": GRID,
    "modes": MODES,
    "costs": (*COSTS, *FLAT, *COSTS_ALONG_ANSWER),
    "others": OTHERS,
    "coalitions": COALITIONS,
    "schemes": SCHEMES,
}
