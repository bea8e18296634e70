"""Score a task in each arm, a chunk of its samples at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from importlib.metadata import version
from typing import Any

from gilot_plugin.artifacts.ablations import ArmLine, Plan, SampleLine, TaskAblation
from gilot_plugin.artifacts.names import ablations_name
from gilot_plugin.errors import ArtifactError, ConfigError, GilotError
from gilot_plugin.harness.ablating.arms import arms_of, changed, emptied, obstacle
from gilot_plugin.harness.ablating.bench import Built, ask, build
from gilot_plugin.harness.ablating.jobs import Job, JobSamples
from gilot_plugin.harness.ablating.ledger import Ledger
from gilot_plugin.harness.ablating.scoring import arm_scores
from gilot_plugin.harness.random_states import seed_all, undisturbed
from gilot_plugin.settings.ablation import FULL, LISTED_PARTS, Arm

_LOGGER = logging.getLogger(__name__)

_FULL_ARM = Arm(FULL, "full")

_NOTHING = "it changes no prompt"

#: Called with the number of samples that are done.
Advance = Callable[[int], None]


def plan_job(job: Job) -> tuple[JobSamples, tuple[Arm, ...]]:
    """The samples and arms of a job; no model is asked.

    Raises:
        ConfigError: The setting does not fit the task.
    """
    samples = JobSamples(job)
    samples.cluster(samples.documents[0])
    return samples, arms_of(job.bench, job.ablation)


def ablate(
    job: Job, samples: JobSamples, arms: Sequence[Arm], advance: Advance = lambda _: None
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
        groups=job.groups,
        versions={
            name: version(package)
            for name, package in (("gilot_plugin", "gilot-plugin"), ("lm_eval", "lm_eval"))
        },
    )
    path = None if job.folder is None else job.folder / ablations_name(bench.name, job.date)
    with closing(Ledger(plan, path, bench.team)) as ledger:
        for arm in (_FULL_ARM, *arms):
            if ledger.is_finished(arm.name):
                advance(len(samples.documents))
                continue
            try:
                line = _ask_arm(job, samples, arm, ledger, advance)
            except Exception as error:
                if isinstance(error, ArtifactError) or arm.kind == "full":
                    raise
                _LOGGER.debug("%s, %s failed", bench.name, arm.name, exc_info=True)
                told = str(error) if isinstance(error, GilotError) else f"{type(error).__name__}: {error}"
                line = _ended(arm, "failed", told)
            ledger.finish(line)
        return ledger.found


def _ended(arm: Arm, status: Any, reason: str) -> ArmLine:
    return ArmLine(arm=arm.name, how=arm.kind, value=arm.value, status=status, reason=reason)


def _why_nothing(arm: Arm) -> str:
    if arm.part == "all_choices":
        return f"{_NOTHING}: choices are not found in the question and in each of the examples"
    return f"{_NOTHING}: no choices are found in the question" if arm.part in LISTED_PARTS else _NOTHING


def _ask_arm(job: Job, samples: JobSamples, arm: Arm, ledger: Ledger, advance: Advance) -> ArmLine:
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
            return _ended(arm, "left_out", reason or _why_nothing(arm))
    if logged:
        advance(len(samples.documents))
    else:
        _ask_chunks(job, samples, arm, built, ledger, advance)
    full = _in_order(samples, ledger, FULL) if arm.kind != "full" else []
    return ArmLine(
        arm=arm.name,
        how=arm.kind,
        value=arm.value,
        status="ok",
        changed=number if arm.kind != "full" else 0,
        logged=logged,
        scores=arm_scores(job.bench.task, _in_order(samples, ledger, arm.name), full),
    )


def _in_order(samples: JobSamples, ledger: Ledger, arm: str) -> list[SampleLine]:
    """Lines of an arm, in the order in which lm-eval scores them."""
    found = {line.doc_id: line for line in ledger.lines(arm).values()}
    return [found[samples.doc_id(document)] for document in samples.documents]


def _ask_chunks(
    job: Job, samples: JobSamples, arm: Arm, built: Built, ledger: Ledger, advance: Advance
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


def _take_logged(job: Job, samples: JobSamples, ledger: Ledger) -> bool:
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
