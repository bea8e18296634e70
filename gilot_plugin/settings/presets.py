"""Named sets of settings."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

#: Named sets of settings, as far as they differ from the fields' defaults. Explicit settings win over them.
PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        # The paper's outcome distribution, at a horizon that an evaluation can afford.
        "paper": {"hypotheses": "regenerate", "steps": "last", "top_p": 0.9999},
        # The published code's numbers, quirks included (github.com/holyseven/GiLOT).
        "reference": {
            "hypotheses": "regenerate",
            "steps": "last",
            "num_beams": 20,
            "max_new_tokens": 20,
            "top_p": 0.9999,
            "absence": "published",
            "units": "token",
            "scope": "all",
            "target": "generation",
            "solver": "ipot",
        },
    }
)

#: Settings that say how the work is spread, where results go and what is measured beside them, but not
#: what they are.
WORK_SETTINGS = frozenset(
    {
        *("batch_size", "memory_budget", "num_threads", "output_path", "resume", "budget", "noise_floor"),
        *("ablate", "step_scores"),
    }
)

#: Settings that presets leave alone: what is computed for which samples, rather than how.
_BESIDE_PRESETS = WORK_SETTINGS | {"preset", "methods", "select", "seed"}


def decided_by(preset: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting that a preset decides: its own, and the defaults of the others.

    Args:
        preset: One of :data:`PRESETS`.
        defaults: Of all settings.
    """
    decided = {name: value for name, value in defaults.items() if name not in _BESIDE_PRESETS}
    return {**decided, **PRESETS[preset]}
