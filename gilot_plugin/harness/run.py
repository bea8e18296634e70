"""The state of one evaluation with attributions, which the hooks pass around."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gilot_plugin.attribution.types import Segment
from gilot_plugin.harness.explaining.progress import RunProgress
from gilot_plugin.harness.explaining.team import Team
from gilot_plugin.harness.recording.conversations import Layout, Message, message_segments
from gilot_plugin.settings.config import Budget, GilotConfig

if TYPE_CHECKING:
    from gilot_plugin.artifacts.records import RecordKey
    from gilot_plugin.artifacts.writer import RecordWriter
    from gilot_plugin.attribution.noise import Remeasured
    from gilot_plugin.backends.protocol import Backend
    from gilot_plugin.harness.choosing.samples import Choice, Sample
    from gilot_plugin.harness.entry.model_arguments import ModelArguments

#: What identifies a fed prompt: the context, and the continuation of a log-likelihood request.
FeedKey = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Feed:
    """A prompt as it went into the model.

    Attributes:
        context: The text that the harness asked for.
        continuation: The text whose likelihood was asked for; None when the model generates.
        token_ids: Tokens of the context that the model read, special tokens included.
        continuation_ids: Tokens of the continuation; empty when the model generates.
        truncated_tokens: Tokens of the context that were cut off on the left and never read.
    """

    context: str
    continuation: str | None
    token_ids: tuple[int, ...]
    continuation_ids: tuple[int, ...] = ()
    truncated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Rendering:
    """A chat template's output and the messages that went into it.

    Attributes:
        text: The rendered conversation.
        messages: What was rendered.
        layout: Of the template for the roles of these messages, None if it is not known.
    """

    text: str
    messages: tuple[Message, ...]
    layout: Layout | None

    def segments(self, parts: Sequence[Sequence[Segment]] | None = None) -> tuple[Segment, ...]:
        """Contents and template text; see :func:`message_segments`."""
        return message_segments(self.text, self.messages, self.layout, parts)


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What a run knows of a task.

    Attributes:
        name: Its name.
        output_type: lm-eval's ``output_type``.
        version: The version in its metadata.
        config: Its attribution settings.
        choices_of: Texts of a document's choices, None if the task has none.
        question_of: A document's question, None if the task has none.
    """

    name: str
    output_type: str
    version: Any
    config: GilotConfig
    choices_of: Callable[[Any], Sequence[str]] | None = None
    question_of: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples of a task that are explained.

    Attributes:
        candidates: Evaluated documents.
        choices: The chosen ones, in order.
        error: Why none could be chosen, None if all went well.
        left_out: Numbers of chosen documents that the budget left no room for.
    """

    candidates: int
    choices: tuple[Choice, ...] = ()
    error: str | None = None
    left_out: tuple[int, ...] = ()


@dataclass
class EvaluationRun:
    """One call of lm-eval's ``evaluate`` with attributions beside it.

    Attributes:
        lm: lm-eval's model object, unwrapped from its cache.
        tasks: The evaluated tasks by name.
        model_name: Name of the model for the records.
        folder: Where artifacts are written, None to keep them in the results only.
        date: Date in the artifacts' names.
        team: The processes that evaluate together.
        budget: What explaining may cost.
        resumed: Manifest of the run that this one goes on with.
        loaded_as: How lm-eval was told to load the model; None where it was given one that was loaded.
        has_template: Whether prompts are conversations in the model's chat template.
        feeds: Prompts as fed, recorded while the harness called the model.
        failed_hooks: Names of hooks around the model's calls in which a plugin failed.
        generated: Tokens of the first answer that the model generated to each context.
        renderings: Chat templates as rendered, by text.
        parts: Named parts of contexts as the harness built them, by task and context.
        selections: Chosen samples by task.
        kept: Records that the resumed run finished.
        kept_count: How many of those are among the chosen samples.
        upcoming: Chosen samples that are explained after the present one.
        under_way: Records that are being made, with their tasks and documents.
        ahead: Records of upcoming samples that are there already.
        remeasured: By task, what was measured twice of its first samples.
        records: Records so far, in order.
        writers: Open files by task.
        backend: The model as GiLOT uses it; None if it cannot be attributed.
        unsupported: Why the model cannot be attributed, if it cannot.
        held: The locks on the run's files, see :mod:`gilot_plugin.harness.keeping.locking`.
        status: "interrupted" until every chosen sample has its record.
        progress: The bars on the screen.
    """

    lm: Any
    tasks: Mapping[str, TaskInfo]
    model_name: str
    folder: Path | None
    date: str
    team: Team = field(default_factory=Team)
    budget: Budget | None = None
    resumed: Mapping[str, Any] | None = None
    loaded_as: ModelArguments | None = None
    has_template: bool = False
    feeds: dict[FeedKey, Feed] = field(default_factory=dict)
    failed_hooks: set[str] = field(default_factory=set)
    generated: dict[str, array[int]] = field(default_factory=dict)
    renderings: dict[str, Rendering] = field(default_factory=dict)
    parts: dict[tuple[str, str], tuple[Segment, ...]] = field(default_factory=dict)
    selections: dict[str, Selection] = field(default_factory=dict)
    kept: Mapping[RecordKey, Mapping[str, Any]] = field(default_factory=dict)
    kept_count: int = 0
    upcoming: Sequence[Sample] = ()
    under_way: Iterator[tuple[RecordKey, Mapping[str, Any]]] = field(default_factory=lambda: iter(()))
    ahead: dict[RecordKey, Mapping[str, Any]] = field(default_factory=dict)
    remeasured: dict[str, list[Remeasured]] = field(default_factory=dict)
    records: list[Mapping[str, Any]] = field(default_factory=list)
    writers: dict[str, RecordWriter] = field(default_factory=dict)
    backend: Backend | None = None
    unsupported: str | None = None
    held: ExitStack = field(default_factory=ExitStack)
    status: Literal["complete", "interrupted"] = "interrupted"
    progress: RunProgress = field(default_factory=RunProgress)

    @property
    def chosen(self) -> Sequence[Sample]:
        """The chosen samples of all tasks, in order."""
        return [choice.sample for selection in self.selections.values() for choice in selection.choices]

    def records_of(self, task: str) -> Sequence[Mapping[str, Any]]:
        """Records of one task, in order."""
        return [record for record in self.records if record["task"] == task]
