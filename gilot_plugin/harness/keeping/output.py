"""Where artifacts go: beside lm-eval's own files, with its date in their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.continuing import finish_renaming, rename_run
from gilot_plugin.artifacts.names import attributions_name
from gilot_plugin.harness.keeping.locking import locked
from gilot_plugin.harness.keeping.manifest import manifest_of
from gilot_plugin.harness.state.run import EvaluationRun, Resumed


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
    """Rename a run's artifacts to lm-eval's date, so that they stand beside its samples.

    Args:
        run: The run; one that is resumed may not have taken up yet what it finds.
        date: As lm-eval's tracker spells it.

    Raises:
        OSError: A file cannot be renamed; the run keeps its date.
        ArtifactError: The manifest cannot be written; the run keeps its date.
        ConfigError: Another process is at work on a run of that date.
    """
    if run.files.folder is None or date == run.files.date:
        return
    run.files.held.enter_context(locked(run.files.folder, date))
    old_date, run.files.date = run.files.date, date
    try:
        if run.resumed is None or run.chosen:
            rename_run(run.files.folder, manifest_of(run, run.status), old_date)
        else:
            finish_renaming(run.files.folder, run.resumed.manifest)
            resumed = _with_date(run.resumed.manifest, date)
            rename_run(run.files.folder, resumed, old_date)
            run.resumed = Resumed(resumed)
    except BaseException:
        run.files.date = old_date
        raise


def _with_date(manifest: Mapping[str, Any], date: str) -> dict[str, Any]:
    tasks = {
        task: {**entry, "file": entry["file"] and attributions_name(task, date)}
        for task, entry in manifest["tasks"].items()
    }
    return {**manifest, "date": date, "tasks": tasks}
