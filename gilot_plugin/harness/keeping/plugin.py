"""Built-in plugin: writes records as they come, and the manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from gilot_plugin.artifacts.continuing import arrange
from gilot_plugin.artifacts.names import attributions_name, manifest_name
from gilot_plugin.artifacts.writer import RecordWriter, write_manifest
from gilot_plugin.harness.keeping.manifest import let_model_go, manifest_of
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.plugins.manager import manager


class RecordKeeper:
    """Keeps the records of one run.

    Args:
        run: The run.
    """

    def __init__(self, run: EvaluationRun) -> None:
        self._run = run

    @hookimpl(trylast=True)
    def gilot_write_record(self, record: Mapping[str, Any]) -> None:
        """Append the record to its task's file."""
        run, files = self._run, self._run.files
        run.records.append(record)
        path = None
        if files.folder is not None:
            task = record["task"]
            path = files.folder / attributions_name(task, files.date, run.team.rank)
            is_first = task not in files.writers
            if is_first:
                files.writers[task] = RecordWriter(path)
            files.writers[task].write(record)
            if is_first:
                # Once a file, not once a record, or else writing would grow with the square of the run.
                describe_run(run)
        manager().hook.gilot_record_written(run=run.view, record=record, path=path)

    @hookimpl(tryfirst=True)  # so that no other plugin is told of a run that is not on the disk
    def gilot_run_finished(self, manifest: Mapping[str, Any]) -> None:
        """Close the files, put their records in order where they are not, and write the final manifest."""
        run, files = self._run, self._run.files
        close_files(run)
        if files.folder is None:
            return
        if run.resumed is not None or run.team.size > 1:
            for task in run.tasks:
                arrange(files.folder / attributions_name(task, files.date), run.records_of(task))
        write_manifest(files.folder / manifest_name(files.date), manifest)


def open_run(run: EvaluationRun) -> None:
    """Leave a manifest before anything is computed, so that the run can be resumed from its first moment.

    That of a run that is resumed stays: it says what had been chosen.
    """
    if run.resumed is None:
        describe_run(run)


def abandon_run(run: EvaluationRun) -> None:
    """Take the manifest away again: the evaluation failed, and nothing was explained."""
    if run.files.folder is not None and run.team.leads and run.resumed is None and not run.records:
        with contextlib.suppress(OSError):
            (run.files.folder / manifest_name(run.files.date)).unlink(missing_ok=True)
    run.files.held.close()
    let_model_go(run)


def describe_run(run: EvaluationRun) -> None:
    """Write the manifest of a run that is under way.

    It says "interrupted" until the run is finished, so that whatever ends the process leaves artifacts that
    say so.
    """
    if run.files.folder is not None and run.team.leads:
        write_manifest(run.files.folder / manifest_name(run.files.date), manifest_of(run, "interrupted"))


def close_files(run: EvaluationRun) -> None:
    """Close the files of records; nothing happens if they are closed."""
    for writer in run.files.writers.values():
        writer.close()


def drop_own_files(run: EvaluationRun) -> None:
    """Remove what this process wrote, once the first one has it."""
    close_files(run)
    for writer in run.files.writers.values():
        writer.path.unlink(missing_ok=True)
