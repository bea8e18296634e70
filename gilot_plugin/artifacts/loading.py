"""A run as Python works with it: typed records, tables, and lm-eval's samples beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gilot_plugin.artifacts.ablations import TaskAblation, read_ablations
from gilot_plugin.artifacts.finding import locate_run
from gilot_plugin.artifacts.lm_eval_files import Evaluation, read_evaluation, read_samples
from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.record_checks import record_problems
from gilot_plugin.artifacts.records import RecordKey
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.display import Displayed
from gilot_plugin.errors import ArtifactError

if TYPE_CHECKING:
    import datasets
    import pandas


@dataclass(frozen=True)
class LoadedRun(Displayed):
    """A run's records and what lies beside them.

    Attributes:
        folder: Where its files lie.
        date: When it was saved, as its file names spell it.
        manifest: See ``schema/manifest-1.1.json``; None where the run was killed before it wrote one.
        records: By task and document.
    """

    folder: Path
    date: str
    manifest: Mapping[str, Any] | None
    records: tuple[Record, ...]

    def __repr__(self) -> str:
        tasks = ", ".join(self.tasks)
        samples = f"{len(self.explained)} of {len(self.records)} samples explained"
        return f"LoadedRun({str(self.folder)!r}, {self.date}, {samples}, tasks: {tasks[:120]!r})"

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the run, those without a record included."""
        named = self.manifest["tasks"] if self.manifest is not None else ()
        ablated = (found.plan.task for found in self.ablations)
        return tuple(dict.fromkeys((*named, *(record.task for record in self.records), *ablated)))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of its models, of which there is one as a rule."""
        named = [record.model for record in self.records] or [found.plan.model for found in self.ablations]
        return tuple(dict.fromkeys(named or [str((self.manifest or {}).get("model", {}).get("name", ""))]))

    @cached_property
    def ablations(self) -> tuple[TaskAblation, ...]:
        """Scores of its tasks without parts of the prompts.

        Raises:
            ArtifactError: A file is broken.
        """
        return read_ablations(self.folder, self.date)

    @property
    def explained(self) -> tuple[Record, ...]:
        """Records whose status is ok."""
        return tuple(record for record in self.records if record.status == "ok")

    @cached_property
    def without_first_position(self) -> tuple[Record, ...]:
        """See :func:`without_first_position`."""
        return without_first_position(self.explained, self.manifest)

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """Scores as lm-eval gave them; None where it wrote no ``results_<date>.json`` into the folder."""
        return read_evaluation(self.folder, self.date)

    def samples(self, task: str) -> Iterator[dict[str, Any]]:
        """Go through all samples of a task that lm-eval logged; none without ``--log_samples``."""
        return read_samples(self.folder, task, self.date)

    @cached_property
    def sample_of(self) -> Mapping[RecordKey, dict[str, Any]]:
        """For each record's key, lm-eval's sample, of its first filter; only those that were logged."""
        found: dict[RecordKey, dict[str, Any]] = {}
        for task in dict.fromkeys(record.task for record in self.records):
            wanted = {record.key[1:]: record.key for record in self.records if record.task == task}
            for sample in self.samples(task):
                identity = tuple(sample.get(name) for name in _IDENTITY)
                if key := wanted.get(identity):  # type: ignore[arg-type]  # it is looked up, whatever it is
                    found.setdefault(key, sample)
        return found

    def to_pandas(self) -> pandas.DataFrame:
        """One row a unit of an explained sample, with its scores; samples without units have none.

        Columns: task, doc_id, doc_hash, model, correct, unit (its number in the prompt), text, segment, start
        and end (characters in the prompt), then one a method, and each metric as ``metric:NAME``.
        """
        import pandas

        return pandas.DataFrame(list(chain.from_iterable(map(unit_rows, self.explained))))

    def to_dataset(self) -> datasets.Dataset:
        """A Hugging Face data set with the rows of :meth:`to_pandas`."""
        import datasets

        return datasets.Dataset.from_pandas(self.to_pandas(), preserve_index=False)


#: What a report says of records without the first position.
FIRST_POSITION_LEFT_OUT = (
    "explained by an earlier release, whose scores leave out the first token of the answer: explain them "
    "again"
)


def without_first_position(
    records: Iterable[Record], manifest: Mapping[str, Any] | None
) -> tuple[Record, ...]:
    """Records of releases that compared what follows 1, ..., J tokens of the answer.

    Scores are to compare what these tokens are drawn from; those of such records say nothing of the first.

    Args:
        records: Records of a run.
        manifest: Its manifest, which has the settings.
    """
    configs = (manifest or {}).get("configs", {})
    return tuple(
        record
        for record in records
        if record.schema_version == "1.0"
        and record.target is not None
        and record.target.kind == "generation"
        and configs.get(record.config_hash, {}).get("steps", "mean") == "mean"
    )


_IDENTITY = ("doc_id", "doc_hash", "prompt_hash", "target_hash")


def load_run(
    folder: str | Path, *, date: str | None = None, model: str | None = None, ablated: bool = False
) -> LoadedRun:
    """Read an attributed run.

    Args:
        folder: The ``output_path`` of the evaluation, the run's folder, or one of its artifacts.
        date: Which run, as its file names spell it; by default the newest one.
        model: Of which model, by its name or that of its folder; by default of any.
        ablated: Whether a run counts of which nothing was explained, but that was ablated.

    Returns:
        The run, whose records were all checked.

    Raises:
        ArtifactError: There is no such run, or a record is broken; the message says what to do.
    """
    place, date = locate_run(Path(folder), date=date, model=model, ablated=ablated)
    run = read_run(place, date=date, ablated=ablated)
    return LoadedRun(
        place, date, run.manifest, tuple(checked_record(record, place) for record in run.records)
    )


def checked_record(record: Mapping[str, Any], folder: Path) -> Record:
    """A record that was read from a folder, with names and types.

    Raises:
        ArtifactError: It is not valid.
    """
    problem = next(record_problems(record), None)
    if problem is not None:
        raise ArtifactError(
            f"the record of task {record['task']!r}, document {record['doc_id']}, is broken: {problem}. "
            f"`gilot validate {folder}` says more"
        )
    return Record.from_json(record)


def writable(text: str) -> str:
    """A text that UTF-8, and so a table, has bytes for: lone surrogates, which it has not, are spelled."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def unit_rows(record: Record) -> Iterator[dict[str, Any]]:
    """The rows of :meth:`LoadedRun.to_pandas` of one record."""
    # Of a column, tables want values of one kind.
    metrics = {
        f"metric:{name}": value if isinstance(value, int | float) else json.dumps(value)
        for name, value in record.metrics.items()
    }
    for index, (unit, (start, end)) in enumerate(zip(record.units, record.spans, strict=True)):
        yield {
            "task": record.task,
            "doc_id": record.doc_id,
            "doc_hash": record.doc_hash,
            "model": record.model,
            "correct": record.correct,
            "unit": index,
            "text": writable(unit.text),
            "segment": unit.segment,
            "start": start,
            "end": end,
            **{method: scores[index] for method, scores in record.scores.items()},
            **metrics,
        }
