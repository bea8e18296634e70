"""The section about a run, as Markdown, and the figures that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from gilot_plugin.analysis.ablation import AblationTable, ablation_table
from gilot_plugin.analysis.ablation_words import judged_words as judged_change
from gilot_plugin.analysis.contrast import Contrasts, amount, contrast_lines, contrasts
from gilot_plugin.analysis.segments import SegmentShare, judged_words, summarize_tasks, verdict_line
from gilot_plugin.artifacts.faithfulness import Faithfulness, Measure, read_faithfulness
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.typed import Record, chosen_method
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.ablation import ablation_lines, interval_words
from gilot_plugin.reports.ablation_figure import ablation_figure
from gilot_plugin.reports.card.limits import limits, limits_of_ablations
from gilot_plugin.reports.card.markdown import markdown
from gilot_plugin.reports.contrast import HEADINGS, effect_words
from gilot_plugin.reports.contrast import interval_words as interval_of_contrast
from gilot_plugin.reports.contrast import judged_words as judged_contrast
from gilot_plugin.reports.faithfulness import claim_line, randomization_lines
from gilot_plugin.reports.figures import faithfulness_figure, heat_map_figure
from gilot_plugin.reports.wording import selection_words, value_words
from gilot_plugin.statistics.intervals import CONFIDENCE

#: Folder of the figures, beside the card.
FIGURES = "gilot"

_EXAMPLES, _FEWEST_EXAMPLES = 3, 2
_EXAMPLE_CHARACTERS = 2000
_TOP_UNITS = 3
#: Rows of the table of wrong answers against right ones, for parts, words and flows each.
_CONTRASTS = 5


class Picture(NamedTuple):
    """A figure of the section.

    Attributes:
        file: Its path from the card, with ``/``.
        figure: What is drawn.
        description: What it shows, in words.
    """

    file: str
    figure: Figure
    description: str


@dataclass(frozen=True)
class Section:
    """What goes into a card.

    Attributes:
        title: A heading for a card that is new.
        text: Markdown.
        pictures: The files that the text shows.
    """

    title: str
    text: str
    pictures: tuple[Picture, ...]


def card_section(run: LoadedRun, method: str | None = None) -> Section:
    """Write the section about a run. The same run always gives the same section.

    Args:
        run: See :func:`gilot_plugin.load_run`.
        method: Whose scores are told; by default ``ot``, or the first there is.

    Raises:
        ArtifactError: The run has neither records nor ablations, or not the method.
    """
    if not run.records and not run.ablations:
        raise ArtifactError(f"{run.folder}: the run has no records to tell of; `gilot show` says why")
    method = chosen_method(run.records, method)
    faithfulness = read_faithfulness(run.folder, run.date)
    segments = summarize_tasks(run.explained, method)
    examples = _examples(run.explained, method)
    pictures = [_heat_map(number, record, method) for number, record in enumerate(examples, start=1)]
    values = {
        "version": str((run.manifest or {}).get("versions", {}).get("gilot_plugin", "of unknown version")),
        "chosen": bool(run.records),
        "tasks": [_task(run, task) for task in run.tasks],
        "facts": list(_facts(run)),
        "scores": list(_scores(run)),
        "method": method,
        "confidence": f"{CONFIDENCE:.0%}",
        "segments": [_segment(task, share) for task, found in segments.items() for share in found],
        "verdict": verdict_line(segments),
        "findings": [
            _finding(task, share, method)
            for task, found in segments.items()
            for share in found
            if share.stands_out
        ],
        "examples": [
            {"title": _title(record), "file": picture.file, "description": picture.description}
            for record, picture in zip(examples, pictures, strict=True)
        ],
        "signed": any(score < 0 for record in examples for score in record.scores[method]),
        "contrast": _contrast(contrasts(run, method=method)) if run.records else None,
        "ablation": None,
        "faithfulness": None,
        "one_at_a_time": any(record.scheme is None for record in run.explained),
        "limits": list(limits(run, faithfulness, method) if run.records else limits_of_ablations()),
    }
    ablations = ablation_table(run.ablations)
    if ablations.changes:
        described = "Scores of the tasks without parts of their prompts, beside those with all of them."
        file = f"{FIGURES}/ablations.png"
        pictures.append(Picture(file, ablation_figure(ablations.changes), described))
        values["ablation"] = _ablation(ablations) | {"file": file, "description": described}
    if faithfulness is not None:
        quantities = ", ".join(measure.quantity for measure in _per_quantity(faithfulness))
        compared = dict.fromkeys(
            curves.method for measure in faithfulness.measures for curves in measure.methods
        )
        description = f"Curves of {quantities} as words are removed, for {', '.join(compared)}."
        file = f"{FIGURES}/faithfulness.png"
        pictures.append(Picture(file, faithfulness_figure(faithfulness), description))
        values["faithfulness"] = _faithfulness(faithfulness) | {"file": file, "description": description}
    return Section(
        title=markdown(", ".join(run.models).rpartition("/")[2]),
        text=_environment().get_template("card.md").render(values),
        pictures=tuple(pictures),
    )


def _task(run: LoadedRun, task: str) -> dict[str, str]:
    own = [record for record in run.records if record.task == task]
    scored = run.evaluation.tasks.get(task) if run.evaluation is not None else None
    seconds = sum(record.diagnostics.get("seconds", {}).get("total", 0.0) for record in own)
    counts = {
        status: sum(record.status == status for record in own) for status in ("ok", "skipped", "failed")
    }
    shots = None if scored is None else scored.num_fewshot
    samples = None if scored is None else scored.samples
    return {
        "name": task,
        "version": "" if scored is None else scored.version,
        "shots": "" if shots is None else str(shots),
        "scored": "" if samples is None else str(samples),
        "explained": str(counts["ok"]),
        "selection": selection_words(run, task) or "not known",
        "skipped": str(counts["skipped"]),
        "failed": str(counts["failed"]),
        "seconds": f"{seconds:.0f} s",
    }


def _facts(run: LoadedRun) -> Iterator[tuple[str, str]]:
    manifest = run.manifest or {}
    model: Mapping[str, Any] = manifest.get("model", {})
    if model:
        yield "model", ", ".join(f"{name} {value}" for name, value in model.items())
    yield "date of the run", run.date.partition("T")[0]
    if manifest.get("versions"):
        yield "versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    if run.evaluation is not None:
        arguments = run.evaluation.arguments
        known = {name: arguments[name] for name in _ARGUMENTS if arguments.get(name) not in (None, {}, "")}
        yield "evaluation", ", ".join(f"{name}={_flat(value)}" for name, value in known.items())
    for config in manifest.get("configs", {}).values():
        settings = ", ".join(f"{name}={_flat(value)}" for name, value in config.items() if value is not None)
        yield "settings of the attribution", settings


#: Of what lm-eval was called with, what a reader needs to repeat it.
_ARGUMENTS = (
    *("model", "model_args", "limit", "gen_kwargs"),
    *("random_seed", "numpy_seed", "torch_seed", "fewshot_seed"),
)


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({', '.join(f'{name}={_flat(part)}' for name, part in value.items())})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_flat, value))}]"
    return str(value)


def _scores(run: LoadedRun) -> Iterator[tuple[str, str, str, str]]:
    better = {True: "higher is better", False: "lower is better", None: ""}
    for task, found in run.evaluation.tasks.items() if run.evaluation is not None else ():
        for score in found.scores:
            yield task, score.name, value_words(score), better[score.higher_is_better]


def _segment(task: str, share: SegmentShare) -> dict[str, str]:
    return {
        "task": task,
        "part": share.segment,
        "samples": str(share.samples),
        "share": f"{share.mean:.0%}",
        "interval": _interval(share.low, share.high) or "too few samples",
        "expected": f"{share.expected:.0%}",
        "judged": judged_words(share),
    }


def _finding(task: str, share: SegmentShare, method: str) -> str:
    more = "more" if share.excess > 0 else "less"
    return (
        f"{task}: {share.segment} has {share.mean:.0%} of the scores of {method}, {more} than the "
        f"{share.expected:.0%} of its length ({share.samples} samples, {_p_words(share.q_value)})"
    )


def _p_words(q_value: float) -> str:
    return "adjusted p < 0.001" if q_value < 0.001 else f"adjusted p = {q_value:.2g}"


def _interval(low: float | None, high: float | None, form: str = ".0%") -> str:
    return "" if low is None or high is None else f"{low:{form}} to {high:{form}}"


def _examples(explained: Sequence[Record], method: str) -> list[Record]:
    """One that was right, one that was wrong, then of other tasks, so that none is picked for its looks."""
    short = [
        record
        for record in explained
        if len(record.prompt) <= _EXAMPLE_CHARACTERS and any(record.scores.get(method, ()))
    ]
    found: list[Record] = []
    for verdict in (True, False):
        found += [record for record in short if record.correct is verdict][:1]
    for record in short:
        of_new_task = record.task not in {other.task for other in found}
        is_new = not any(record is other for other in found)
        if len(found) < _EXAMPLES and (of_new_task or (is_new and len(found) < _FEWEST_EXAMPLES)):
            found.append(record)
    return found


def _title(record: Record) -> str:
    verdict = {True: ", answered right", False: ", answered wrong", None: ""}[record.correct]
    return f"{record.task}, document {record.doc_id}{verdict}"


def _heat_map(number: int, record: Record, method: str) -> Picture:
    scores = record.scores[method]
    strongest = sorted(range(len(scores)), key=lambda index: -abs(scores[index]))[:_TOP_UNITS]
    top = ", ".join(f"“{record.units[index].text.strip()}” {scores[index]:.3g}" for index in strongest)
    description = f"Heat map of the prompt of {_title(record)}. Largest scores of {method}: {top}."
    return Picture(f"{FIGURES}/heat_{number}.png", heat_map_figure(record, method), description)


def _contrast(found: Contrasts) -> dict[str, Any]:
    rows = [
        {
            "kind": one.kind,
            "name": one.name,
            "samples": f"{one.test.samples[0]} and {one.test.samples[1]}",
            "wrong": amount(one, one.test.mean),
            "right": amount(one, one.test.other),
            "effect": effect_words(one),
            "interval": interval_of_contrast(one),
            "judged": judged_contrast(one),
        }
        for kind in HEADINGS
        for one in [other for other in found.found if other.kind == kind][:_CONTRASTS]
    ]
    return {"lines": list(contrast_lines(found)), "rows": rows}


def _ablation(table: AblationTable) -> dict[str, Any]:
    rows = [
        {
            "task": change.task,
            "metric": change.metric_words,
            "arm": change.arm,
            "samples": str(change.samples),
            "full": f"{change.full:.3f}",
            "score": f"{change.score:.3f}",
            "change": f"{change.difference:+.3f}",
            "interval": interval_words(change),
            "judged": judged_change(change),
            "same": f"{change.same:.0%}",
        }
        for change in table.changes
    ]
    return {"rows": rows, "lines": list(ablation_lines(table))}


def _faithfulness(found: Faithfulness) -> dict[str, Any]:
    rows = [
        {
            "measure": measure.title,
            "method": curves.method,
            "area": f"{curves.area.mean:.3f}",
            "interval": _interval(curves.area.low, curves.area.high, ".3f") or "too few samples",
            "control": control.control,
            "difference": f"{control.difference.mean:+.3f}",
            "difference_interval": _interval(control.difference.low, control.difference.high, "+.3f"),
            "p_value": f"{control.p_value:.2g}",
            "judged": "beaten" if control.beaten else "better" if control.beats else "not beaten",
        }
        for measure in found.measures
        for curves in measure.methods
        for control in curves.controls
    ]
    return {
        "measures": [f"{measure.quantity}: {measure.summary}" for measure in _per_quantity(found)],
        "samples": str(found.samples),
        "rows": rows,
        "lines": [
            *(
                f"{measure.title}: {claim_line(curves)}"
                for measure in found.measures
                for curves in measure.methods
            ),
            *(() if found.randomization is None else randomization_lines(found.randomization)),
        ],
    }


def _per_quantity(found: Faithfulness) -> Iterable[Measure]:
    return {measure.quantity: measure for measure in found.measures}.values()


@cache
def _environment() -> jinja2.Environment:
    def load(name: str) -> str:
        return (files(__package__) / "assets" / name).read_text(encoding="utf-8")

    # Every value is escaped unless the template calls it safe.
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        finalize=lambda value: value if hasattr(value, "__html__") else markdown(str(value)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
