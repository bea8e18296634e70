"""Attach to lm-eval: for the time of a ``with`` block its evaluations come with attributions.

lm-eval (0.4.10 to 0.4.13) has no hooks for requests or samples. Three functions are wrapped where lm-eval
looks them up at call time: ``evaluator.simple_evaluate`` (tells the output folder), ``evaluator.evaluate``
(has the model, the tasks and the results), and ``EvaluationTracker.save_results_aggregated`` (sets the date
in file names). Attribution starts when ``evaluate`` has returned, so that scores cannot depend on it.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import lm_eval.loggers
from lm_eval.loggers import EvaluationTracker

from gilot_plugin.artifacts.writer import check_writable
from gilot_plugin.config import GilotConfig, as_config
from gilot_plugin.errors import GilotError
from gilot_plugin.harness.explain import explain_results
from gilot_plugin.harness.loading import ModelArguments, model_arguments
from gilot_plugin.harness.loggers import log_after_results, log_to_trackio, log_to_wandb
from gilot_plugin.harness.output import output_root, redate, results_folder
from gilot_plugin.harness.recording.model_calls import hooked
from gilot_plugin.harness.recording.parts import watched_parts
from gilot_plugin.harness.recording.rebuilding import rebuild_parts, remembered_builds
from gilot_plugin.harness.recordkeeper import abandon_run, open_run
from gilot_plugin.harness.run import EvaluationRun
from gilot_plugin.harness.start import leaves, start_run

_LOGGER = logging.getLogger(__name__)

#: Attribute that tells a wrapped function from lm-eval's own.
_MARK = "_gilot_attached"


class Attachment:
    """What came of the evaluations inside an :func:`attach` block.

    Attributes:
        runs: One entry per evaluation, in order.
        interrupted: Whether Ctrl-C or an error stopped a run before every chosen sample had its record.
    """

    def __init__(self, given: Mapping[str, Any], output_path: Path | None) -> None:
        self.runs: list[EvaluationRun] = []
        self.interrupted = False
        self._given = given
        self._output_path = output_path
        self._tracker: EvaluationTracker | None = None
        self._loaded_as: ModelArguments | None = None
        self._tracked: dict[EvaluationTracker, EvaluationRun] = {}

    def join(self, call: Mapping[str, Any]) -> None:
        """Take part in an evaluation whose ``simple_evaluate`` was called before the attachment.

        Args:
            call: The arguments of that call; empty if there is none.

        Raises:
            ArtifactError: The folder for artifacts cannot be written.
        """
        self._tracker = call.get("evaluation_tracker")
        self._loaded_as = model_arguments(call)
        root = self._output_path or output_root(self._tracker)
        if root is not None:
            check_writable(root)

    def simple_evaluate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap lm-eval's ``simple_evaluate`` to see where it will write, and whether it can."""
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs).arguments
            self._tracker = arguments.get("evaluation_tracker")
            self._loaded_as = model_arguments(arguments)
            root = self._output_path or output_root(self._tracker)
            if root is not None:
                check_writable(root)
            try:
                return original(*args, **kwargs)
            finally:
                self._tracker = self._loaded_as = None

        return call

    def evaluate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap lm-eval's ``evaluate`` to record its requests and explain its samples."""
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs).arguments
            folder = self._output_path or results_folder(self._tracker)
            run = start_run(arguments["lm"], arguments["task_dict"], self._given, folder, self._tracker)
            run.loaded_as = self._loaded_as
            run.has_template = bool(arguments.get("apply_chat_template"))
            self.runs.append(run)
            if self._tracker is not None:
                self._tracked[self._tracker] = run
            # The rows of the samples are needed in any case; without --log_samples they go no further.
            wants_samples = arguments.get("log_samples", True)
            arguments["log_samples"] = True
            tasks = dict(leaves(arguments["task_dict"]))
            open_run(run)
            try:
                instruction = arguments.get("system_instruction")
                with remembered_builds(tasks) as builds, hooked(run), watched_parts(run, tasks, instruction):
                    results = original(**arguments)
                rebuild_parts(run, tasks, builds, instruction)
            except BaseException:
                abandon_run(run)
                raise
            self.interrupted |= not explain_results(run, results)
            if results is not None and not wants_samples:  # only the first of several processes has results
                del results["samples"]
            return results

        return call

    def save_results_aggregated(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the tracker's method to name artifacts by the date that lm-eval has just chosen."""

        @functools.wraps(original)
        def call(tracker: EvaluationTracker, *args: Any, **kwargs: Any) -> Any:
            result = original(tracker, *args, **kwargs)
            date = getattr(tracker, "date_id", None)
            if date is not None and tracker in self._tracked:
                try:
                    redate(self._tracked[tracker], date)
                except (OSError, GilotError) as error:  # lm-eval has its samples still to write
                    _LOGGER.error(
                        "the attributions keep another date in their names than lm-eval's files: %s", error
                    )
            return result

        return call


@contextmanager
def attach(
    config: GilotConfig | Mapping[str, Any] | None = None, output_path: str | Path | None = None
) -> Iterator[Attachment]:
    """Explain samples of every lm-eval evaluation inside the block.

    Scores and samples are those of an evaluation without it; attributed samples have the extra key ``gilot``.

    Args:
        config: Settings for the run: what was set explicitly wins over the settings of tasks. None for those
            of the tasks and the defaults.
        output_path: Folder for the artifacts. None for ``config.output_path``, else beside lm-eval's own
            samples, else nothing is written.

    Yields:
        The attachment, which knows the runs afterwards.

    Raises:
        ConfigError: The settings are wrong.
        ArtifactError: The folder cannot be written.
        GilotError: An attachment is active already.
    """
    config = as_config(config)
    given = {name: getattr(config, name) for name in config.model_fields_set}
    folder = Path(output_path) if output_path is not None else config.output_path
    if folder is not None:
        check_writable(folder)
    attachment = Attachment(given, folder)
    with (
        _replaced(lm_eval.evaluator, "simple_evaluate", attachment.simple_evaluate),
        _replaced(lm_eval.evaluator, "evaluate", attachment.evaluate),
        _replaced(EvaluationTracker, "save_results_aggregated", attachment.save_results_aggregated),
        ExitStack() as stack,
    ):
        for logger, log in _loggers():
            wrap = partial(log_after_results, runs=attachment.runs, log=log)
            stack.enter_context(_replaced(logger, "log_eval_result", wrap))
        yield attachment


def _loggers() -> Iterator[tuple[Any, Callable[[Any, dict[str, Any]], None]]]:
    """lm-eval's loggers; older releases have fewer."""
    for name, log in (("WandbLogger", log_to_wandb), ("TrackioLogger", log_to_trackio)):
        if (logger := getattr(lm_eval.loggers, name, None)) is not None:
            yield logger, log


def is_attached() -> bool:
    """Whether an attachment is active in this process."""
    return hasattr(lm_eval.evaluator.evaluate, _MARK)


@contextmanager
def _replaced(
    owner: Any, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> Iterator[None]:
    original = getattr(owner, name)
    if hasattr(original, _MARK):
        raise GilotError("an attachment is active already: nest no attach() blocks")
    wrapper = wrap(original)
    setattr(wrapper, _MARK, True)
    setattr(owner, name, wrapper)
    try:
        yield
    finally:
        setattr(owner, name, original)


def simple_evaluate(*args: Any, gilot: GilotConfig | Mapping[str, Any] | None = None, **kwargs: Any) -> Any:
    """``lm_eval.simple_evaluate`` with attributions.

    Args:
        *args: As lm-eval takes them.
        gilot: Settings; ``gilot.output_path`` is where artifacts go.
        **kwargs: As lm-eval takes them.

    Returns:
        What lm-eval returns; attributed samples in ``results["samples"][task]`` have the extra key ``gilot``.

    Raises:
        ConfigError: The settings are wrong; said before the model loads.
    """
    with attach(gilot):
        return lm_eval.evaluator.simple_evaluate(*args, **kwargs)
