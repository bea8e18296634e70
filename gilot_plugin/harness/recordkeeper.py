"""Built-in plugin: writes records as they come, and the manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gilot_plugin.artifacts.names import attributions_name, manifest_name
from gilot_plugin.artifacts.writer import RecordWriter, write_manifest
from gilot_plugin.harness.manifest import manifest_of
from gilot_plugin.harness.run import EvaluationRun
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins import manager


@hookimpl
def gilot_write_record(run: EvaluationRun, record: Mapping[str, Any]) -> None:
    """Append the record to its task's file."""
    run.records.append(record)
    path = None
    if run.folder is not None:
        task = record["task"]
        path = run.folder / attributions_name(task, run.date)
        if task not in run.writers:
            run.writers[task] = RecordWriter(path)
            # Once a file, not once a record, or else writing would grow with the square of the run.
            # "interrupted" until the run is finished, so that whatever ends the process leaves artifacts that
            # say so.
            write_manifest(run.folder / manifest_name(run.date), manifest_of(run, "interrupted"))
        run.writers[task].write(record)
    manager().hook.gilot_record_written(run=run, record=record, path=path)


@hookimpl
def gilot_run_finished(run: EvaluationRun, manifest: Mapping[str, Any]) -> None:
    """Close the files and write the final manifest."""
    for writer in run.writers.values():
        writer.close()
    if run.folder is not None:
        write_manifest(run.folder / manifest_name(run.date), manifest)
