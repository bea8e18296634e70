"""lm-eval's own files, written by its own code, before anything is explained and again afterwards.

lm-eval saves what ``simple_evaluate`` returned, which is after the attribution: hours in which a process may
be killed. So its tracker is called as soon as the results are known. When lm-eval calls it later, the same
files are written again, with the attributions in the samples. Either time a file appears whole or not at all.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import lm_eval.loggers.evaluation_tracker

from gilot_plugin.artifacts.writer import move_into_place
from gilot_plugin.harness.keeping.output import output_root
from gilot_plugin.harness.watching.wrapping import wrapped

_LOGGER = logging.getLogger(__name__)

#: Switches of lm-eval's tracker that make it upload what it has written.
_PUSHES = ("push_results_to_hub", "push_samples_to_hub")


def save_scores(tracker: Any, results: Mapping[str, Any], *, with_samples: bool) -> str | None:
    """Save the results of an evaluation as lm-eval's command does it after ``simple_evaluate``.

    Nothing is uploaded: that comes when lm-eval saves, with the attributions.

    Args:
        tracker: lm-eval's tracker.
        results: What ``simple_evaluate`` is about to return; not changed.
        with_samples: Whether the samples are saved, too.

    Returns:
        The date in the files' names; None if they could not be written, which lm-eval or a warning has said.
    """
    aggregated = {key: value for key, value in results.items() if key != "samples"}
    samples = results["samples"] if with_samples else None
    try:
        with _without_upload(tracker):
            with _whole_files(tracker) as saved:
                tracker.save_results_aggregated(results=aggregated, samples=samples)
            if not saved:
                return None
            for task, rows in (samples or {}).items():
                with _whole_files(tracker, lines=len(rows)):
                    # The tracker turns answers into text in place, and they are still to be explained.
                    tracker.save_results_samples(task_name=task, samples=[dict(row) for row in rows])
    except OSError as error:
        _LOGGER.warning("the scores could not be saved before the samples are explained: %s", error)
        return None
    _LOGGER.info("scores are saved in %s; now samples are explained", saved[0].parent)
    date: str = tracker.date_id
    return date


def rewrite_results(tracker: Any, date: str, write: Callable[[], None]) -> None:
    """Write the results once more, under the date that they have, with the times of then.

    Args:
        tracker: lm-eval's tracker.
        date: See :func:`save_scores`.
        write: The tracker's own method, with its arguments.
    """
    with _kept_otherwise(), _same_names(tracker, date), _whole_files(tracker):
        write()


def rewrite_samples(tracker: Any, lines: int, write: Callable[[], None]) -> None:
    """Write a task's samples once more, without uploading them.

    Args:
        tracker: lm-eval's tracker.
        lines: Number of the samples.
        write: The tracker's own method, with its arguments.
    """
    with _kept_otherwise(), _without_upload(tracker), _whole_files(tracker, lines=lines):
        write()


@contextmanager
def _kept_otherwise() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _LOGGER.warning("lm-eval's files stay as they were before samples were explained: %s", error)


@contextmanager
def _whole_files(tracker: Any, *, lines: int = 0) -> Iterator[list[Path]]:
    """Let files that the tracker writes inside the block appear at its end, and only if they are whole.

    Args:
        tracker: lm-eval's tracker, which must have an output path.
        lines: Of each file of samples.

    Yields:
        A list that holds the files once they are there.

    Raises:
        OSError: A file cannot be written.
    """
    root, given = output_root(tracker), tracker.output_path
    assert root is not None
    root.mkdir(parents=True, exist_ok=True)
    moved: list[Path] = []
    with tempfile.TemporaryDirectory(dir=root, prefix=".gilot-") as folder:
        inside = Path(folder)
        tracker.output_path = str(inside / Path(given).name) if Path(given).suffix == ".json" else folder
        try:
            with _unsaid(folder):
                yield moved
        finally:
            tracker.output_path = given
        for path in sorted(inside.rglob("*.json*")):
            if _is_whole(path, lines):
                moved.append(root / path.relative_to(inside))
                move_into_place(path, moved[-1])


@contextmanager
def _same_names(tracker: Any, date: str) -> Iterator[None]:
    """Let the tracker write inside the block what it has written under a date, with the times of then."""
    module: Any = lm_eval.loggers.evaluation_tracker
    clock = module.datetime
    module.datetime = _Then(date)
    try:
        with wrapped(tracker.general_config_tracker, "log_end_time", lambda _: lambda: None):
            yield
    finally:
        module.datetime = clock


@contextmanager
def _without_upload(tracker: Any) -> Iterator[None]:
    """Keep the tracker from uploading what it writes inside the block."""
    given = {name: getattr(tracker, name) for name in _PUSHES}
    try:
        for name in _PUSHES:
            setattr(tracker, name, False)
        yield
    finally:
        for name, value in given.items():
            setattr(tracker, name, value)


class _Then:
    """A clock that stands still, as far as lm-eval's tracker looks at it."""

    def __init__(self, date: str) -> None:
        self._date = date

    def now(self) -> _Then:
        return self

    def isoformat(self) -> str:
        return self._date


@contextmanager
def _unsaid(folder: str) -> Iterator[None]:
    """Hold back what lm-eval says of a folder that nobody will find."""

    def is_said(record: logging.LogRecord) -> bool:
        return folder not in record.getMessage()

    with ExitStack() as stack:
        logger: logging.Logger = lm_eval.loggers.evaluation_tracker.eval_logger
        logger.addFilter(is_said)
        stack.callback(logger.removeFilter, is_said)
        yield


def _is_whole(path: Path, lines: int) -> bool:
    """Whether lm-eval could write all of a file; where it cannot, it logs a warning and goes on."""
    with path.open("rb") as file:
        if path.suffix == ".jsonl":
            return sum(line.endswith(b"\n") for line in file) == lines
        try:
            json.load(file)
        except ValueError:
            return False
    return True
