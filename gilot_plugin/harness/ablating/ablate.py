"""Score a task in each arm, a chunk of its samples at a time."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

from gilot_plugin.artifacts.ablations import ArmLine, Plan, SampleLine, TaskAblation
from gilot_plugin.artifacts.names import ablations_name
from gilot_plugin.errors import ConfigError, GilotError
from gilot_plugin.harness.ablating.arms import arms_of, changed, emptied, obstacle
from gilot_plugin.harness.ablating.bench import Bench, Built, ask, build, build_full
from gilot_plugin.harness.ablating.ledger import Ledger
from gilot_plugin.harness.ablating.scoring import arm_scores, sample_line
from gilot_plugin.harness.random_states import seed_all, undisturbed
from gilot_plugin.settings.ablation import FULL, Ablation, Arm

_LOGGER = logging.getLogger(__name__)

#: Samples that are asked together. What a killed process had asked of a chunk is asked again, so that
#: batches, and with them the last digits, are the same as without the interruption.
_CHUNK = 128

_FULL_ARM = Arm(FULL, "full")

#: Called with the number of samples that are done.
Advance = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Baseline:
    """What lm-eval logged of the evaluation itself.

    Attributes:
        rows: Its rows of the task, one a document and filter.
        same_process: Whether this very process has made them; else the model is asked some again, to see
            whether
            it still answers so.
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
    """

    bench: Bench
    ablation: Ablation
    model: str
    model_identity: str
    date: str
    folder: Path | None
    baseline: Baseline | None


class _Samples:
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
        for start in range(0, len(self.documents), _CHUNK):
            yield self.documents[start : start + _CHUNK]

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


def plan_job(job: Job) -> tuple[_Samples, tuple[Arm, ...]]:
    """The samples and arms of a job; no model is asked.

    Raises:
        ConfigError: The setting does not fit the task.
    """
    samples = _Samples(job)
    samples.cluster(samples.documents[0])
    return samples, arms_of(job.bench, job.ablation)


def ablate(
    job: Job, samples: _Samples, arms: Sequence[Arm], advance: Advance = lambda _: None
) -> TaskAblation:
    """Ask and score every arm of a task, beginning with the prompts as they are.

    Whatever goes wrong in an arm is that arm's reason and does not stop the others. What an earlier process
    finished is kept.

    Args:
        job: The ablation.
        samples: See :func:`plan_job`.
        arms: See there.
        advance: Told how many samples are done, for a bar.

    Raises:
        ConfigError: The file is of another ablation.
        ArtifactError: It cannot be read or written.
    """
    bench = job.bench
    plan = Plan(
        task=bench.name,
        date=job.date,
        model=job.model,
        output_type=bench.output_type,
        identity=samples.identity,
        n=job.ablation.n,
        seed=job.ablation.seed,
        cluster=job.ablation.cluster,
        samples=len(samples.documents),
        arms=(FULL, *(arm.name for arm in arms)),
        versions={
            name: version(package)
            for name, package in (("gilot_plugin", "gilot-plugin"), ("lm_eval", "lm_eval"))
        },
    )
    path = None if job.folder is None else job.folder / ablations_name(bench.name, job.date)
    with closing(Ledger(plan, path)) as ledger:
        for arm in (_FULL_ARM, *arms):
            if ledger.is_finished(arm.name):
                advance(len(samples.documents))
                continue
            try:
                line = _ask_arm(job, samples, arm, ledger, advance)
            except GilotError:
                raise
            except Exception as error:
                _LOGGER.debug("%s, %s failed", bench.name, arm.name, exc_info=True)
                line = _ended(arm, "failed", f"{type(error).__name__}: {error}")
            ledger.finish(line)
        return ledger.found


def _ended(arm: Arm, status: Any, reason: str) -> ArmLine:
    return ArmLine(arm=arm.name, how=arm.kind, value=arm.value, status=status, reason=reason)


def _ask_arm(job: Job, samples: _Samples, arm: Arm, ledger: Ledger, advance: Advance) -> ArmLine:
    logged = False
    if arm.kind == "full":
        built = samples.full
        number = len(samples.documents)
        logged = _take_logged(job, samples, ledger)
    else:
        reason = obstacle(job.bench, samples.full, arm)
        built = samples.full if reason is not None else build(job.bench, arm, job.ablation.seed)
        reason = reason or emptied(job.bench, built)
        number = sum(changed(samples.full, built, samples.documents))
        if reason is not None or not number:
            advance(len(samples.documents))
            return _ended(arm, "left_out", reason or "it changes no prompt")
    if logged:
        advance(len(samples.documents))
    else:
        _ask_chunks(job, samples, arm, built, ledger, advance)
    lines = ledger.lines(arm.name)
    found = {line.doc_id: line for line in lines.values()}
    ordered = [found[samples.doc_id(document)] for document in samples.documents]
    return ArmLine(
        arm=arm.name,
        how=arm.kind,
        value=arm.value,
        status="ok",
        changed=number if arm.kind != "full" else 0,
        logged=logged,
        scores=arm_scores(job.bench.task, ordered),
    )


def _ask_chunks(
    job: Job, samples: _Samples, arm: Arm, built: Built, ledger: Ledger, advance: Advance
) -> None:
    for chunk in samples.chunks():
        known = {line.doc_id for line in ledger.lines(arm.name).values()}
        if not known.issuperset(map(samples.doc_id, chunk)):
            rows = _asked(job, built, chunk)
            lines = samples.lines(arm.name, rows, built)
            ledger.add_samples([lines[document] for document in chunk])
        advance(len(chunk))


def _asked(job: Job, built: Built, chunk: Sequence[int]) -> list[dict[str, Any]]:
    """Answers that are drawn at random are drawn alike in all arms, and again after an interruption."""
    with undisturbed():
        seed_all(job.ablation.seed + chunk[0])
        return ask(job.bench, built, chunk)


def _take_logged(job: Job, samples: _Samples, ledger: Ledger) -> bool:
    """Take the evaluation itself for the arm that changes nothing, where that can be done.

    Its samples were logged, their prompts are those that the task builds now, and the model still answers so.
    """
    if job.baseline is None:
        return False
    number_of = {samples.doc_id(document): document for document in samples.documents}
    rows = [
        {**row, "doc_id": number_of[row["doc_id"]]} for row in job.baseline.rows if row["doc_id"] in number_of
    ]
    lines = samples.lines(FULL, rows, samples.full)
    if set(lines) != set(samples.documents):
        return False
    if not job.baseline.same_process:
        chunk = next(samples.chunks())
        again = samples.lines(FULL, _asked(job, samples.full, chunk), samples.full)
        if any(again[one].prompt_hash != lines[one].prompt_hash for one in chunk):
            raise ConfigError(
                f"{job.bench.name}: the installed task builds other prompts than those that were "
                "evaluated: install the release of lm-eval that the results name, and give the same "
                "--include_path"
            )
        differ = sum(again[one].answers != lines[one].answers for one in chunk)
        if differ:
            _LOGGER.warning(
                "%s: the model answers %d of %d samples otherwise than in the log, so it is asked all again",
                job.bench.name,
                differ,
                len(chunk),
            )
            return False
    ledger.add_samples([lines[document] for document in samples.documents])
    return True
