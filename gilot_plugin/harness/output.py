"""Where artifacts go: beside lm-eval's own files, with its date in their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.names import attributions_name, manifest_name
from gilot_plugin.artifacts.writer import write_manifest
from gilot_plugin.harness.manifest import manifest_of
from gilot_plugin.harness.run import EvaluationRun


def output_root(tracker: Any) -> Path | None:
    """Folder that was given to lm-eval's ``EvaluationTracker``, None if it writes nothing."""
    if tracker is None or not tracker.output_path:
        return None
    path = Path(tracker.output_path)
    return path.parent if path.suffix == ".json" else path


def results_folder(tracker: Any) -> Path | None:
    """Folder that lm-eval's ``EvaluationTracker`` writes samples into, once it knows the model."""
    root = output_root(tracker)
    if root is None or Path(tracker.output_path).suffix == ".json":
        return root
    return root / str(tracker.general_config_tracker.model_name_sanitized)


def redate(run: EvaluationRun, date: str) -> None:
    """Rename a finished run's artifacts to lm-eval's date, so that they stand beside its samples."""
    if run.folder is None or date == run.date:
        return
    old_date, run.date = run.date, date
    for task in run.tasks:
        old = run.folder / attributions_name(task, old_date)
        if old.exists():
            old.rename(run.folder / attributions_name(task, date))
    write_manifest(run.folder / manifest_name(date), manifest_of(run, run.status))
    (run.folder / manifest_name(old_date)).unlink()
