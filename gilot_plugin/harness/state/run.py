"""The state of one evaluation with attributions, and what plugins see of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from gilot_plugin.artifacts.records import RecordKey
from gilot_plugin.artifacts.writer import RecordWriter
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.extension.runs import RunView, TaskView
from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.harness.state.model_arguments import ModelArguments
from gilot_plugin.harness.state.progress import RunProgress
from gilot_plugin.harness.state.seen import Seen
from gilot_plugin.harness.state.team import Team
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.fields import Budget


@dataclass(frozen=True)
class TaskInfo:
    """What a run knows of a task.

    Attributes:
        name: Its name.
        output_type: lm-eval's ``output_type``.
        version: The version in its metadata.
        config: Its attribution settings.
        choices_of: Texts of a document's choices, None if the task has none.
        question_of: A document's question, None if the task has none.
        filters: lm-eval's filters of answers, in their order.
    """

    name: str
    output_type: str
    version: Any
    config: GilotConfig
    choices_of: Callable[[Any], Sequence[str]] | None = None
    question_of: Callable[[Any], Any] | None = None
    filters: Sequence[Any] = ()

    @cached_property
    def view(self) -> TaskView:
        """The task as plugins see it."""
        settings = MappingProxyType(self.config.model_dump(mode="json"))
        return TaskView(self.name, self.output_type, self.version, settings, self.config.hash)


@dataclass(frozen=True, slots=True)
class ChosenOfTask:
    """The samples of a task that are explained.

    Attributes:
        candidates: Evaluated documents.
        samples: The chosen ones, in order, each with its reason.
        error: Why none could be chosen, None if all went well.
        left_out: Numbers of chosen documents that the budget left no room for.
    """

    candidates: int
    samples: tuple[ChosenSample, ...] = ()
    error: str | None = None
    left_out: tuple[int, ...] = ()


@dataclass(slots=True)
class Resumed:
    """The run that this one goes on with.

    Attributes:
        manifest: Its manifest.
        records: Those that it finished.
        kept: How many of them are among the chosen samples.
    """

    manifest: Mapping[str, Any]
    records: Mapping[RecordKey, Mapping[str, Any]] = field(default_factory=dict)
    kept: int = 0


@dataclass(slots=True)
class RunFiles:
    """Where the artifacts of a run are.

    Attributes:
        folder: Of the files, None to keep records in the results only.
        date: In their names.
        writers: Open files by task.
        held: The locks on them, see :mod:`gilot_plugin.harness.keeping.locking`.
    """

    folder: Path | None
    date: str
    writers: dict[str, RecordWriter] = field(default_factory=dict)
    held: ExitStack = field(default_factory=ExitStack)


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """What a manifest says of a model.

    Attributes:
        model: Its name, class, type of numbers and so on.
        cache_use: How it was read in this process; None where it has not read anything.
    """

    model: Mapping[str, Any]
    cache_use: Mapping[str, Any] | None


@dataclass
class EvaluationRun:
    """One call of lm-eval's ``evaluate`` with attributions beside it.

    Attributes:
        lm: lm-eval's model object, unwrapped from its cache.
        tasks: The evaluated tasks by name.
        model_name: Name of the model for the records.
        files: Where its artifacts are.
        team: The processes that evaluate together.
        budget: What explaining may cost.
        loaded_as: How lm-eval was told to load the model; None where it was given one that was loaded.
        has_template: Whether prompts are conversations in the model's chat template.
        backend: The model as GiLOT uses it; None if it cannot be attributed.
        unsupported: Why the model cannot be attributed, if it cannot.
        seen: Of prompts and answers, while the model was scored.
        resumed: The run that this one goes on with.
        chosen: Samples to explain, by task.
        records: Records so far, in order.
        status: "interrupted" until every chosen sample has its record.
        progress: The bars on the screen.
        described: What the manifest says of the model and of how it was read, once the run has let it go.
    """

    lm: Any
    tasks: Mapping[str, TaskInfo]
    model_name: str
    files: RunFiles
    team: Team = field(default_factory=Team)
    budget: Budget | None = None
    loaded_as: ModelArguments | None = None
    has_template: bool = False
    backend: Scorer | None = None
    unsupported: str | None = None
    seen: Seen = field(default_factory=Seen)
    resumed: Resumed | None = None
    chosen: dict[str, ChosenOfTask] = field(default_factory=dict)
    records: list[Mapping[str, Any]] = field(default_factory=list)
    status: Literal["complete", "interrupted"] = "interrupted"
    progress: RunProgress = field(default_factory=RunProgress)
    described: ModelDescription | None = None

    @property
    def view(self) -> RunView:
        """The run as plugins see it."""
        return RunView(self.model_name, self.lm, self._task_views, self.files.folder, self.files.date)

    @cached_property
    def _task_views(self) -> Mapping[str, TaskView]:
        return MappingProxyType({name: task.view for name, task in self.tasks.items()})

    @property
    def samples(self) -> Sequence[Sample]:
        """The chosen samples of all tasks, in order."""
        return [one.sample for chosen in self.chosen.values() for one in chosen.samples]

    @property
    def kept_count(self) -> int:
        """Chosen samples whose records the resumed run had finished."""
        return self.resumed.kept if self.resumed is not None else 0

    def records_of(self, task: str) -> Sequence[Mapping[str, Any]]:
        """Records of one task, in order."""
        return [record for record in self.records if record["task"] == task]
