"""From lm-eval's rows to an arm's lines, and to its scores by lm-eval's own aggregation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import lm_eval.api.metrics

from gilot_plugin.artifacts.ablations import JACKKNIFE_GROUPS, ArmScore, SampleLine
from gilot_plugin.artifacts.jsontext import plain
from gilot_plugin.harness.asking.likelihoods import own_requests
from gilot_plugin.statistics.intervals import MIN_SAMPLES
from gilot_plugin.statistics.jackknife import jackknife_stderr

#: How strict JSON spells what it has no numbers for, see :func:`gilot_plugin.artifacts.jsontext.plain`.
_SPELLED = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def sample_line(
    rows: Sequence[Mapping[str, Any]],
    *,
    arm: str,
    output_type: str,
    doc_id: int,
    changed: bool,
    cluster: str | None,
) -> SampleLine:
    """One document's answer.

    Args:
        rows: lm-eval's rows of the document, one a filter.
        arm: Name of the arm.
        output_type: lm-eval's, of the task.
        doc_id: lm-eval's number of the document.
        changed: Whether the arm changes its prompt.
        cluster: What it belongs to.
    """
    first = rows[0]
    own = own_requests(first["arguments"]) if output_type == "multiple_choice" else ()
    return SampleLine(
        arm=arm,
        doc_id=doc_id,
        doc_hash=first["doc_hash"],
        prompt_hash=first["prompt_hash"],
        changed=changed,
        answers={row["filter"]: _answer(row, output_type, len(own)) for row in rows},
        metrics={
            f"{metric},{row['filter']}": plain(row[metric]) for row in rows for metric in row["metrics"]
        },
        choices=len(own) if output_type == "multiple_choice" else None,
        cluster=cluster,
    )


def _answer(row: Mapping[str, Any], output_type: str, choices: int) -> str:
    given = row["filtered_resps"]
    if output_type == "multiple_choice":
        likelihoods = [float(answer[0]) for answer in given[:choices]]
        return str(max(range(len(likelihoods)), key=lambda place: likelihoods[place]))
    first = given[0] if isinstance(given, (list, tuple)) and given else given
    if output_type == "loglikelihood":
        return str(first[1])
    return first if isinstance(first, str) else json.dumps(plain(first), ensure_ascii=False)


def arm_scores(
    task: Any, lines: Sequence[SampleLine], full: Sequence[SampleLine] = ()
) -> tuple[ArmScore, ...]:
    """Scores of an arm, as lm-eval would put them into its results.

    Args:
        task: lm-eval's task object.
        lines: Of all samples, in the order in which lm-eval scores them.
        full: The same samples with their prompts as they are; empty for that arm itself.
    """
    names = dict.fromkeys(name for line in lines for name in line.metrics)
    ways, better = task.aggregation(), task.higher_is_better()
    found = []
    for name in names:
        metric = name.partition(",")[0]
        items = [_restored(line.metrics[name]) for line in lines if name in line.metrics]
        aggregate = ways.get(metric, lm_eval.api.metrics.mean)
        try:
            value = float(aggregate(items))
        except (TypeError, ValueError, ArithmeticError, LookupError):  # of samples that it is not made for
            continue
        if not math.isfinite(value):
            continue
        is_mean = aggregate is lm_eval.api.metrics.mean and all(map(_is_number, items))
        left_out = () if is_mean else _changes_left_out(aggregate, name, lines, full)
        direction = better.get(metric) if isinstance(better, Mapping) else None
        found.append(
            ArmScore(
                metric=name,
                value=value,
                stderr=_stderr(aggregate, items),
                is_mean=is_mean,
                higher_is_better=direction if isinstance(direction, bool) else None,
                change_stderr=jackknife_stderr(left_out) if left_out else None,
                change_left_out=left_out,
            )
        )
    return tuple(found)


def _changes_left_out(
    aggregate: Callable[[Any], Any], name: str, lines: Sequence[SampleLine], full: Sequence[SampleLine]
) -> tuple[float, ...]:
    """A paired difference of scores of any kind, without each group of samples in turn; empty for too few."""
    pairs = [
        (_restored(one.metrics[name]), _restored(other.metrics[name]), other.cluster)
        for one, other in zip(full, lines, strict=False)
        if name in one.metrics and name in other.metrics
    ]
    clusters = {cluster: place for place, cluster in enumerate(dict.fromkeys(pair[2] for pair in pairs))}
    belongs = [place if None in clusters else clusters[pair[2]] for place, pair in enumerate(pairs)]
    groups = min(JACKKNIFE_GROUPS, len(set(belongs)))
    if groups < MIN_SAMPLES:
        return ()
    try:
        left = [
            [pair for place, pair in zip(belongs, pairs, strict=True) if place % groups != group]
            for group in range(groups)
        ]
        changes = tuple(
            float(aggregate([after for _, after, _ in kept]))
            - float(aggregate([before for before, _, _ in kept]))
            for kept in left
        )
    except (TypeError, ValueError, ArithmeticError, LookupError):  # of so few
        return ()
    return changes if all(map(math.isfinite, changes)) else ()


def _stderr(aggregate: Any, items: Sequence[Any]) -> float | None:
    """lm-eval's, where it has a formula; its bootstraps, which start processes, are left out."""
    if aggregate not in (lm_eval.api.metrics.mean, getattr(lm_eval.api.metrics, "acc_all", None)):
        return None
    formula = lm_eval.api.metrics.stderr_for_metric(metric=aggregate, bootstrap_iters=1)
    if formula is None or len(items) < 2:
        return None
    found = float(formula(items))
    return found if math.isfinite(found) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _restored(value: Any) -> Any:
    return _SPELLED.get(value, value) if isinstance(value, str) else value
