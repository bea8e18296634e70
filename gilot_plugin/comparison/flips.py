"""Answers that were right and are wrong, and the other way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.verdicts import is_correct
from gilot_plugin.comparison.judging import judge_p_values
from gilot_plugin.comparison.pairs import Pair
from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.statistics.paired import mcnemar, mcnemar_attainable


class Flips(NamedTuple):
    """Answers that changed between right and wrong.

    Attributes:
        task: Name of the task.
        judged: Samples that a metric judges in both runs.
        base_right: Those that the base model got right.
        tuned_right: Those that the other model got right.
        right_to_wrong: Number of answers.
        wrong_to_right: Number of answers.
        p_value: McNemar's, exact.
        q_value: The same, adjusted for all tasks.
        of_all: Whether all samples of the evaluation count, and not only those that were explained.
    """

    task: str
    judged: int
    base_right: int
    tuned_right: int
    right_to_wrong: int
    wrong_to_right: int
    p_value: float
    q_value: float
    of_all: bool

    @property
    def is_finding(self) -> bool:
        """Whether more answers got worse than better, or the other way, by more than chance."""
        return self.q_value <= ALPHA


def count_flips(base: LoadedRun, tuned: LoadedRun, pairs: Sequence[Pair]) -> tuple[Flips, ...]:
    """Changed answers by task: of all samples where lm-eval logged them, else of the pairs."""
    counted = []
    for task in dict.fromkeys(pair.base.task for pair in pairs):
        explained = [(pair.base.correct, pair.tuned.correct) for pair in pairs if pair.base.task == task]
        before, after = _logged(base, task), _logged(tuned, task)
        logged = [(before[key], after[key]) for key in before if key in after]
        of_all = bool(logged)
        judged = [(a, b) for a, b in (logged if of_all else explained) if a is not None and b is not None]
        if judged:
            worse = sum(a and not b for a, b in judged)
            better = sum(b and not a for a, b in judged)
            counted.append((task, judged, worse, better, mcnemar(worse, better), of_all))
    attainable = [mcnemar_attainable(worse + better) for _, _, worse, better, _, _ in counted]
    judged_tasks = judge_p_values([found[4] for found in counted], attainable)
    return tuple(
        Flips(
            task,
            len(judged),
            sum(a for a, _ in judged),
            sum(b for _, b in judged),
            worse,
            better,
            p_value,
            judgement.q_value,
            of_all,
        )
        for (task, judged, worse, better, p_value, of_all), judgement in zip(
            counted, judged_tasks, strict=True
        )
    )


def _logged(run: LoadedRun, task: str) -> dict[tuple[Any, ...], bool]:
    """Verdicts on all samples that lm-eval logged of a task, by document and filter."""
    found: dict[tuple[Any, ...], bool] = {}
    seen: Counter[tuple[Any, ...]] = Counter()
    for sample in run.samples(task):
        key = sample["doc_hash"], sample.get("filter")
        copy = seen[key]
        seen[key] += 1
        for metric in sample.get("metrics") or ():
            verdict = is_correct(metric, sample.get(metric))
            if verdict is not None:
                found[key[0], key[1], copy] = verdict
                break
    # Of several filters, the first one counts, as in the records.
    first = next((key[1] for key in found), None)
    return {key: verdict for key, verdict in found.items() if key[1] == first}
