"""What plugins are told of the evaluation that they are called in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task of an evaluation.

    Attributes:
        name: Its name.
        output_type: lm-eval's ``output_type``.
        version: The version in its metadata.
        settings: Its attribution settings, as the manifest has them.
        config_hash: Of these settings, as records have it.
    """

    name: str
    output_type: str
    version: Any
    settings: Mapping[str, Any]
    config_hash: str


@dataclass(frozen=True, slots=True)
class RunView:
    """An evaluation with attributions; nothing can be changed through it.

    Attributes:
        model_name: Name of the model, as records have it.
        lm: lm-eval's model object, unwrapped from its cache.
        tasks: The evaluated tasks by name.
        folder: Where artifacts are written, None where they are kept in the results only.
        date: Date in the artifacts' names; lm-eval's own from the moment at which that is known.
    """

    model_name: str
    lm: Any
    tasks: Mapping[str, TaskView]
    folder: Path | None
    date: str
