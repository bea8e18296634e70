"""Where artifacts go: beside lm-eval's own files, with its date in their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.continuing import rename_run
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
    try:
        rename_run(run.folder, manifest_of(run, run.status), old_date)
    except BaseException:
        run.date = old_date
        raise
