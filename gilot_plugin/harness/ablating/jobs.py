"""What is to be ablated of a task: the job, and its samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from gilot_plugin.artifacts.ablations import SampleLine
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.ablating.bench import Bench, Built, build_full
from gilot_plugin.harness.ablating.scoring import sample_line
from gilot_plugin.settings.ablation import Ablation

#: Samples that are asked together. What a killed process had asked of a chunk is asked again, so that
#: batches, and with them the last digits, are the same as without the interruption.
CHUNK = 128


@dataclass(frozen=True, eq=False)
class Baseline:
    """What lm-eval logged of the evaluation itself.

    Attributes:
        rows: Its rows of the task, one a document and filter.
        same_process: Whether this very process has made them; else the model is asked some again, to see
            whether it still answers so.
    """

    rows: Sequence[Mapping[str, Any]]
    same_process: bool


@dataclass(frozen=True, eq=False)
class Job:
    """The ablation of a task.

    Attributes:
        bench: The task.
        ablation: What is asked.
        model: Name of the model.
        model_identity: What its answers depend on, beside the name.
        date: Of the run.
        folder: Where the file goes; None for nowhere.
        baseline: The evaluation itself; None where its samples were not logged.
        groups: Of tasks that this one is in.
    """

    bench: Bench
    ablation: Ablation
    model: str
    model_identity: str
    date: str
    folder: Path | None
    baseline: Baseline | None
    groups: tuple[str, ...] = ()


class JobSamples:
    """The samples of a job, with their prompts as they are."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.full = build_full(job.bench)
        every = list(self.full.requests)
        count = job.ablation.n
        drawn = every if count is None else Random(job.ablation.seed).sample(every, min(count, len(every)))
        self.documents = sorted(drawn)
        chosen = job.bench.samples
        # With --samples, lm-eval numbers the chosen documents anew while it asks.
        self._true = dict(enumerate(chosen)) if chosen is not None else {}

    def doc_id(self, number: int) -> int:
        """lm-eval's number of a document."""
        return self._true.get(number, number)

    def cluster(self, number: int) -> str | None:
        """What a document belongs to.

        Raises:
            ConfigError: It has no such field.
        """
        if self.job.ablation.cluster is None:
            return None
        value: Any = self.full.requests[number][0].doc
        for name in self.job.ablation.cluster.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise ConfigError(
                    f"ablate.cluster={self.job.ablation.cluster!r}: document {self.doc_id(number)} of "
                    f"{self.job.bench.name} has no such field"
                )
            value = value[name]
        return str(value)

    @property
    def identity(self) -> str:
        """Digest of all that answers depend on beside the arm."""
        digest = hashlib.sha256(self.job.model_identity.encode())
        for number in self.documents:
            told = [str(request.args) for request in self.full.requests[number]]
            digest.update(json.dumps([self.doc_id(number), told]).encode())
        return digest.hexdigest()

    def chunks(self) -> Iterator[Sequence[int]]:
        """The documents, so many at a time, always the same ones."""
        for start in range(0, len(self.documents), CHUNK):
            yield self.documents[start : start + CHUNK]

    def lines(self, arm: str, rows: Sequence[Mapping[str, Any]], built: Built) -> dict[int, SampleLine]:
        """Lines of documents, by their numbers, from lm-eval's rows, which have these."""
        grouped: dict[int, list[Mapping[str, Any]]] = {}
        for row in rows:
            grouped.setdefault(row["doc_id"], []).append(row)
        return {
            number: sample_line(
                own,
                arm=arm,
                output_type=self.job.bench.output_type,
                doc_id=self.doc_id(number),
                changed=built.contexts(number) != self.full.contexts(number),
                cluster=self.cluster(number),
            )
            for number, own in grouped.items()
        }
