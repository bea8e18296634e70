"""Attach to lm-eval: for the time of a ``with`` block its evaluations come with attributions.

lm-eval (0.4.10 to 0.4.13) has no hooks for requests or samples. These functions are wrapped where lm-eval
looks them up at call time: ``evaluator.simple_evaluate`` (tells the output folder), ``evaluator.evaluate``
(has the model, the tasks and the samples), ``evaluator.add_tokenizer_info`` (gets the results when nothing
else is missing in them), and two methods of ``EvaluationTracker`` (write lm-eval's files). Attribution starts
when the results are complete and saved, so that scores neither depend on it nor are lost with it.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import lm_eval.loggers
from lm_eval.loggers import EvaluationTracker

from gilot_plugin.artifacts.ablations import TaskAblation
from gilot_plugin.artifacts.writer import check_writable
from gilot_plugin.errors import GilotError
from gilot_plugin.harness.ablating.beside import RequestedAblation, ablate_beside, asked_ablations
from gilot_plugin.harness.entry.again import loader_of
from gilot_plugin.harness.entry.engines import telling_engines
from gilot_plugin.harness.entry.start import leaves, start_run
from gilot_plugin.harness.entry.taking_part import leave, take_part
from gilot_plugin.harness.explaining.explain import explain_results, give_up
from gilot_plugin.harness.keeping.loggers import log_after_results, log_to_trackio, log_to_wandb
from gilot_plugin.harness.keeping.manifest import let_model_go
from gilot_plugin.harness.keeping.output import output_root, redate, results_folder
from gilot_plugin.harness.keeping.plugin import abandon_run, open_run
from gilot_plugin.harness.keeping.saving import rewrite_results, rewrite_samples, save_scores
from gilot_plugin.harness.state.model_arguments import ModelArguments, model_arguments
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.watching.apart import TaskApart, listening
from gilot_plugin.harness.watching.model_calls import hooked
from gilot_plugin.harness.watching.parts import watched_parts
from gilot_plugin.harness.watching.rebuilding import rebuild_parts, remembered_builds
from gilot_plugin.settings.ablation import ablation_functions
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.selection import functions_in
from gilot_plugin.settings.sources import given_settings
from gilot_plugin.strategies.functions import load_function

_LOGGER = logging.getLogger(__name__)

#: Attribute that tells a wrapped function from lm-eval's own.
_MARK = "_gilot_attached"


@dataclass(frozen=True, slots=True)
class _Scored:
    """An evaluation that lm-eval has scored.

    Attributes:
        run: The run.
        rebuild: Finds the parts of prompts that came from lm-eval's cache.
        wants_samples: Whether samples were asked for. Their rows are needed in any case.
        asked: Tasks that are to be scored without parts of their prompts, too.
    """

    run: EvaluationRun
    rebuild: Callable[[], None]
    wants_samples: bool
    asked: tuple[RequestedAblation, ...]


class Attachment:
    """What came of the evaluations inside an :func:`attach` block.

    Attributes:
        runs: One entry per evaluation, in order.
        interrupted: Whether Ctrl-C or an error stopped a run before every chosen sample had its record.
        ablations: Scores without parts of the prompts, by task.
        all_ablated: Whether every ablation that was asked for has its scores.
    """

    def __init__(self, given: Mapping[str, Any], output_path: Path | None) -> None:
        self.runs: list[EvaluationRun] = []
        self.interrupted = False
        self.ablations: list[TaskAblation] = []
        self.all_ablated = True
        self._given = given
        self._output_path = output_path
        self._tracker: EvaluationTracker | None = None
        self._task_manager: Any = None
        self._loaded_as: ModelArguments | None = None
        self._tracked: dict[EvaluationTracker, EvaluationRun] = {}
        #: Dates of what was saved before it was explained.
        self._saved: dict[EvaluationTracker, str] = {}
        self._in_simple_evaluate = False
        self._scored: _Scored | None = None

    def join(self, call: Mapping[str, Any]) -> None:
        """Take part in an evaluation whose ``simple_evaluate`` was called before the attachment.

        Args:
            call: The arguments of that call; empty if there is none.

        Raises:
            ArtifactError: The folder for artifacts cannot be written.
        """
        if call:
            self._begin(call)

    def _begin(self, call: Mapping[str, Any]) -> None:
        tracker = call.get("evaluation_tracker")
        root = self._output_path or output_root(tracker)
        if root is not None:
            check_writable(root)
        self._tracker, self._loaded_as, self._in_simple_evaluate = tracker, model_arguments(call), True
        self._task_manager = call.get("task_manager")

    def _end(self) -> None:
        self._tracker, self._loaded_as, self._in_simple_evaluate = None, None, False

    def let_go(self) -> None:
        """Let other processes write the files of the runs."""
        leave()
        for run in self.runs:
            run.files.held.close()

    def simple_evaluate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap lm-eval's ``simple_evaluate`` to see where it will write, and whether it can."""
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs).arguments
            self._begin(given)
            try:
                with telling_engines(given.get("model"), self._given):
                    return original(*args, **kwargs)
            finally:
                self._end()
                if self._scored is not None:  # lm-eval failed with the scores in its hands
                    give_up(self._scored.run)
                    self._skip_ablations(self._scored)
                    self._scored = None

        return call

    def evaluate(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap lm-eval's ``evaluate`` to watch its requests; alone, it has its samples explained, too."""
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            arguments = signature.bind(*args, **kwargs).arguments
            folder = self._output_path or results_folder(self._tracker)
            tasks = dict(leaves(arguments["task_dict"]))
            apart = {name: TaskApart(task) for name, task in tasks.items()}
            run = start_run(arguments["lm"], apart, self._given, folder, self._tracker)
            run.loaded_as = self._loaded_as
            run.has_template = bool(arguments.get("apply_chat_template"))
            self.runs.append(run)
            take_part(run)
            if self._tracker is not None:
                self._tracked[self._tracker] = run
                self._saved.pop(self._tracker, None)
            wants_samples = arguments.get("log_samples", True)
            # Without a metric there is nothing but samples, and lm-eval refuses to go without.
            arguments["log_samples"] = wants_samples or not any(map(_bypasses_metrics, tasks.values()))
            asked = asked_ablations(run, tasks, arguments, original, loader_of(self._task_manager))
            open_run(run)
            try:
                instruction = arguments.get("system_instruction")
                with (
                    listening(apart.values(), samples_wanted=wants_samples),
                    remembered_builds(tasks) as builds,
                    hooked(run),
                    watched_parts(run, tasks, instruction),
                ):
                    results = original(**arguments)
            except BaseException:
                abandon_run(run)
                raise
            scored = _Scored(
                run, partial(rebuild_parts, run, tasks, builds, instruction), wants_samples, asked
            )
            # simple_evaluate goes on in the process that has the results, and in no other.
            if self._in_simple_evaluate and results is not None and run.team.leads and run.team.writes:
                self._scored = scored
            else:
                self._explain(scored, results)
            return results

        return call

    def add_tokenizer_info(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the last step of lm-eval's ``simple_evaluate`` to save the results and explain samples."""

        @functools.wraps(original)
        def call(results: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            found = original(results, *args, **kwargs)
            scored, self._scored = self._scored, None
            if scored is not None:
                self._explain(scored, results)
            self._end()
            return found

        return call

    def _explain(self, scored: _Scored, results: dict[str, Any] | None) -> None:
        def prepare() -> None:
            if results is not None:
                self._save(results, with_samples=scored.wants_samples)
            scored.rebuild()

        self.interrupted |= not explain_results(scored.run, results, prepare)
        self._ablate(scored, results)
        let_model_go(scored.run)
        if self._tracker is None or self._tracker in self._saved:
            scored.run.files.held.close()
        if results is not None and not scored.wants_samples:
            del results["samples"]

    def _skip_ablations(self, scored: _Scored) -> None:
        """Tell other processes, which wait to be asked, that there are no ablations."""
        with suppress(Exception):  # as in give_up
            if scored.asked:
                scored.run.team.from_leader(False)

    def _ablate(self, scored: _Scored, results: Mapping[str, Any] | None) -> None:
        """Ask again without parts of the prompts; lm-eval goes on whatever comes of it."""
        team = scored.run.team
        if not scored.asked or (results is None and team.size == 1):
            return
        found: list[TaskAblation] = []
        try:
            if team.from_leader(not self.interrupted):
                found.extend(ablate_beside(scored.run, scored.asked, results))
        except KeyboardInterrupt:
            _LOGGER.error("interrupted: `gilot ablate` on the output folder goes on with the ablations")
        except Exception:
            _LOGGER.exception("the ablations could not be finished; lm-eval goes on to write its results")
        self.ablations += found
        lines = [line for one in found for line in one.arms.values()]
        self.all_ablated &= len(found) == len(scored.asked) and all(line.status != "failed" for line in lines)

    def _save(self, results: Mapping[str, Any], *, with_samples: bool) -> None:
        """Save what is known, where lm-eval is going to save it."""
        if self._tracker is not None and self._tracker.output_path:
            date = save_scores(self._tracker, results, with_samples=with_samples)
            if date is not None:
                self._saved[self._tracker] = date

    def save_results_aggregated(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the tracker's method: artifacts get lm-eval's date, which it chooses once."""

        @functools.wraps(original)
        def call(tracker: EvaluationTracker, *args: Any, **kwargs: Any) -> Any:
            if (date := self._saved.get(tracker)) is not None:
                return rewrite_results(tracker, date, partial(original, tracker, *args, **kwargs))
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

    def save_results_samples(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the tracker's method: it replaces the file of samples that was saved before."""
        signature = inspect.signature(original)

        @functools.wraps(original)
        def call(tracker: EvaluationTracker, *args: Any, **kwargs: Any) -> Any:
            if tracker not in self._saved:
                return original(tracker, *args, **kwargs)
            given = signature.bind(tracker, *args, **kwargs).arguments
            rewrite_samples(tracker, len(given["samples"]), partial(original, **given))
            if tracker.push_samples_to_hub:
                # lm-eval appends no sample to the file, and uploads its folder as it is now.
                original(**{**given, "samples": []})
            return None

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
    given = given_settings(config)
    for place in (*functions_in(given.get("select")), *ablation_functions(given.get("ablate"))):
        load_function(place)
    folder = Path(output_path) if output_path is not None else given.get("output_path")
    if folder is not None:
        check_writable(folder)
    attachment = Attachment(given, folder)
    with (
        _replaced(lm_eval.evaluator, "simple_evaluate", attachment.simple_evaluate),
        _replaced(lm_eval.evaluator, "evaluate", attachment.evaluate),
        _replaced(lm_eval.evaluator, "add_tokenizer_info", attachment.add_tokenizer_info),
        _replaced(EvaluationTracker, "save_results_aggregated", attachment.save_results_aggregated),
        _replaced(EvaluationTracker, "save_results_samples", attachment.save_results_samples),
        ExitStack() as stack,
    ):
        for logger, log in _loggers():
            wrap = partial(log_after_results, runs=attachment.runs, log=log)
            stack.enter_context(_replaced(logger, "log_eval_result", wrap))
        stack.callback(attachment.let_go)
        yield attachment


def _loggers() -> Iterator[tuple[Any, Callable[[Any, dict[str, Any]], None]]]:
    """lm-eval's loggers; older releases have fewer."""
    for name, log in (("WandbLogger", log_to_wandb), ("TrackioLogger", log_to_trackio)):
        if (logger := getattr(lm_eval.loggers, name, None)) is not None:
            yield logger, log


def _bypasses_metrics(task: Any) -> bool:
    return "bypass" in getattr(task, "_metric_fn_list", {})


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
