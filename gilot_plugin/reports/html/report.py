"""The report of one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from gilot_plugin.analysis.contrast import contrasts
from gilot_plugin.analysis.segments import SegmentShare, judged_words, summarize_tasks, verdict_line
from gilot_plugin.artifacts.faithfulness import read_faithfulness
from gilot_plugin.artifacts.loading import FIRST_POSITION_LEFT_OUT, LoadedRun
from gilot_plugin.artifacts.typed import chosen_method
from gilot_plugin.attribution.types import SHOT_PREFIX, TEMPLATE_SEGMENT
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.estimates import qualities_words
from gilot_plugin.reports.html.ablation import ablation_section
from gilot_plugin.reports.html.answers import report_view
from gilot_plugin.reports.html.contrast import contrast_section
from gilot_plugin.reports.html.faithfulness import faithfulness_section
from gilot_plugin.reports.html.packing import CHUNK, Packed, pack, pack_chunks, shown
from gilot_plugin.reports.html.page import render_page
from gilot_plugin.reports.html.samples import list_row, search_text
from gilot_plugin.reports.wording import cache_use_lines, score_words, selection_error, selection_words
from gilot_plugin.statistics.intervals import CONFIDENCE
from gilot_plugin.version import VERSION

#: Scripts of the page, beside those that pages share.
REPORT_SCRIPTS = ("sample.js", "report.js")


def report_page(run: LoadedRun) -> str:
    """The whole page, as HTML.

    Args:
        run: See :func:`gilot_plugin.load_run`.

    Raises:
        ArtifactError: The run has neither records nor ablations, or broken figures of its faithfulness.
    """
    if not run.records and not run.ablations:
        raise ArtifactError(f"{run.folder}: the run has no records to report; `gilot show` says why")
    data = _data(run, chosen_method(run.records))
    return render_page("report.html", REPORT_SCRIPTS, data, report_values(run))


def report_values(run: LoadedRun) -> dict[str, Any]:
    """What the page's template asks for: all but the samples.

    Raises:
        ArtifactError: The run has broken figures of its faithfulness.
    """
    method = chosen_method(run.records)
    models = ", ".join(run.models)
    hanging = "answers" if run.records else "scores"
    faithfulness = read_faithfulness(run.folder, run.date)
    segments = summarize_tasks(run.explained, method)
    reasons = Counter(f"{record.status}: {record.reason}" for record in run.records if record.status != "ok")
    reasons.update(
        f"without scores by {name}: {reason}"
        for record in run.records
        for name, reason in record.failed_methods.items()
    )
    return {
        "title": shown(f"What the {hanging} of {models.rpartition('/')[2]} hang on"),
        "subtitle": shown(f"{models} · {run.date}"),
        "version": VERSION,
        "chunk": CHUNK,
        "method": method,
        "confidence": f"{CONFIDENCE:.0%}",
        "explained": len(run.explained),
        "chosen": len(run.records),
        "notes": [shown(line) for line in _notes(run, method)],
        "reasons": [(shown(reason), count) for reason, count in reasons.most_common(5)],
        "tasks": [task_row(run, task, segments.get(task, ())) for task in run.tasks],
        "segments_verdict": shown(verdict_line(segments)),
        "faithfulness": None if faithfulness is None else faithfulness_section(faithfulness),
        "ablation": ablation_section(run.ablations),
        "contrast": contrast_section(
            contrasts(run, method=method), {record.key: record for record in run.records}
        ),
        "segments": sorted({unit.segment for record in run.records for unit in record.units}),
        "facts": [(name, shown(value)) for name, value in _facts(run)],
        "live": False,
    }


def _notes(run: LoadedRun, method: str) -> Iterator[str]:
    """What a reader should know before any number."""
    if run.without_first_position:
        yield f"{len(run.without_first_position)} were {FIRST_POSITION_LEFT_OUT}."
    if quality := qualities_words(run.explained, method):
        yield quality
    yield from cache_use_lines((run.manifest or {}).get("cache_use"))


def _data(run: LoadedRun, method: str) -> Iterator[Packed]:
    samples = run.sample_of
    yield pack("list", [list_row(record, method) for record in run.records])
    yield pack("texts", [search_text(record) for record in run.records])
    yield from pack_chunks([report_view(record, samples.get(record.key)) for record in run.records])


def task_row(run: LoadedRun, task: str, segments: Sequence[SegmentShare]) -> dict[str, Any]:
    """A row of the table of tasks, and the table of the task's segments."""
    own = [record for record in run.records if record.task == task]
    ok = [record for record in own if record.status == "ok"]
    judged = [record.correct for record in ok if record.correct is not None]
    scored = run.evaluation.tasks.get(task) if run.evaluation is not None else None
    seconds = sum(record.diagnostics.get("seconds", {}).get("total", 0.0) for record in ok)
    error = selection_error(run, task)
    return {
        "name": shown(task),
        "version": scored.version if scored is not None else "",
        "shots": scored.num_fewshot if scored is not None else None,
        "scores": [score_words(score) for score in scored.scores] if scored is not None else [],
        "counts": ", ".join(
            f"{count} {status}" for status, count in Counter(record.status for record in own).items()
        ),
        "selection": selection_words(run, task),
        "error": None if error is None else shown(error),
        "right": f"{sum(judged)} of {len(judged)}" if judged else "",
        "seconds": f"{seconds:.3g} s",
        "segments": [_segment(share) for share in segments],
        "dominated": _dominated(segments, len(ok)),
    }


def _segment(share: SegmentShare) -> dict[str, Any]:
    interval = "too few samples" if share.low is None else f"{share.low:.0%} to {share.high:.0%}"
    return {
        "name": share.segment,
        "mean": f"{share.mean:.0%}",
        "value": share.mean,
        "interval": interval,
        "expected": f"{share.expected:.0%}",
        "judged": judged_words(share),
        "dominant": f"{share.dominant} of {share.samples}",
    }


def _dominated(segments: Sequence[SegmentShare], samples: int) -> str:
    """A warning where answers hang on what should not decide them: the template, or one example."""
    found = [
        f"{share.segment} in {share.dominant} of {samples} samples"
        for share in segments
        if share.dominant and share.segment.startswith((SHOT_PREFIX, TEMPLATE_SEGMENT)) and len(segments) > 1
    ]
    return f"The largest share falls on the template or on one example: {', '.join(found)}." if found else ""


def _facts(run: LoadedRun) -> Iterator[tuple[str, str]]:
    yield "folder", str(run.folder)
    manifest = run.manifest or {}
    yield "status", str(manifest.get("status", "no manifest"))
    for name, version in manifest.get("versions", {}).items():
        yield name, str(version)
    for name, value in manifest.get("model", {}).items():
        yield f"model {name}", str(value)
    for config_hash, config in manifest.get("configs", {}).items():
        words = ", ".join(f"{name}={value}" for name, value in config.items() if value is not None)
        yield f"settings {config_hash[:8]}", words
