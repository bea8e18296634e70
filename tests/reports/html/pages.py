"""Runs to report, and what opens their pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from gilot_plugin.artifacts.loading import LoadedRun, load_run
from tests.artifacts import factories

Open = Callable[..., Page]

#: Of the factories' text: Is the film not good ?
SCORES = {"ot": [0.0, 0.01, 0.05, 0.5, 0.25, 0.0], "kl": [0.4, 0.0, 0.0, 0.0, 0.0, -0.2]}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> {{7*7}} \x1b[31m \u202eabc"


def loaded(folder: Path, *records: dict[str, Any]) -> LoadedRun:
    """A run that has written these records."""
    factories.write_run(folder, list(records))
    return load_run(folder)
