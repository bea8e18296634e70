"""GiLOT attributions beside the scores of lm-evaluation-harness."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gilot_plugin.display import draw_with
from gilot_plugin.version import VERSION

if TYPE_CHECKING:
    from gilot_plugin.api import attribute
    from gilot_plugin.artifacts.loading import LoadedRun, load_run
    from gilot_plugin.artifacts.typed import Record
    from gilot_plugin.attribution.types import Attribution, Flow, Hypothesis, Segment, Token, Unit
    from gilot_plugin.comparison.audit import Audit, audit_runs
    from gilot_plugin.harness.entry.attach import attach, simple_evaluate
    from gilot_plugin.hookspecs import hookimpl
    from gilot_plugin.settings.config import GilotConfig

__version__ = VERSION

#: Where each public name lives, imported on first use: torch and lm-eval take seconds, which ``gilot --help``
#: need not wait for.
_HOMES = {
    "Attribution": "attribution.types",
    "Flow": "attribution.types",
    "Audit": "comparison.audit",
    "GilotConfig": "settings.config",
    "Hypothesis": "attribution.types",
    "LoadedRun": "artifacts.loading",
    "Record": "artifacts.typed",
    "Segment": "attribution.types",
    "Token": "attribution.types",
    "Unit": "attribution.types",
    "attach": "harness.entry.attach",
    "attribute": "api",
    "audit_runs": "comparison.audit",
    "hookimpl": "hookspecs",
    "load_run": "artifacts.loading",
    "simple_evaluate": "harness.entry.attach",
}

__all__ = [
    "Attribution",
    "Audit",
    "Flow",
    "GilotConfig",
    "Hypothesis",
    "LoadedRun",
    "Record",
    "Segment",
    "Token",
    "Unit",
    "__version__",
    "attach",
    "attribute",
    "audit_runs",
    "hookimpl",
    "load_run",
    "simple_evaluate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gilot_plugin.{_HOMES[name]}"), name)


draw_with(lambda: import_module("gilot_plugin.reports.display"))
