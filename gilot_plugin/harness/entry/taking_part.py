"""The built-in plugins that take part in an evaluation: one object of each for every run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from gilot_plugin.harness.choosing.plugin import Chooser
from gilot_plugin.harness.explaining.plugin import Explainer
from gilot_plugin.harness.keeping.plugin import RecordKeeper
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.watching.plugin import FeedWatcher
from gilot_plugin.plugins.manager import manager

#: What makes them, by the name that each is registered under.
BUILTIN_EVENTS: Mapping[str, Callable[[EvaluationRun], Any]] = MappingProxyType(
    {
        "gilot_plugin.harness.watching.plugin": FeedWatcher,
        "gilot_plugin.harness.choosing.plugin": Chooser,
        "gilot_plugin.harness.explaining.plugin": Explainer,
        "gilot_plugin.harness.keeping.plugin": RecordKeeper,
    }
)


def take_part(run: EvaluationRun) -> None:
    """Register them for a run, in the place of those of the run before it."""
    leave()
    for name, make in BUILTIN_EVENTS.items():
        manager().register(make(run), name=name)


def leave() -> None:
    """Let them go, and the run with them."""
    for name in BUILTIN_EVENTS:
        if manager().has_plugin(name):
            manager().unregister(name=name)
