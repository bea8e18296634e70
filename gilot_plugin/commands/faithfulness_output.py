"""What ``gilot faithfulness`` says and writes."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from rich.console import Console

from gilot_plugin.artifacts import jsontext
from gilot_plugin.artifacts.faithfulness import FAITHFULNESS_VERSION, Faithfulness, Settings
from gilot_plugin.commands.faithfulness_request import Request
from gilot_plugin.faithfulness.curves import FRACTIONS
from gilot_plugin.faithfulness.experiment import Design, Findings
from gilot_plugin.faithfulness.summary import mean_seconds, summarize
from gilot_plugin.reports.faithfulness import LEGEND, measure_heading, measure_table, verdict_lines
from gilot_plugin.reports.visible import visible

_PACKAGES = ("gilot-plugin", "lm_eval", "torch", "transformers", "POT", "sentence-transformers")


def left_out_of(request: Request, findings: Findings) -> dict[str, int]:
    """Samples without curves, by reason."""
    return dict(sorted((request.left_out + findings.left_out).items()))


def figures_of(request: Request, design: Design, findings: Findings, embedder: str) -> Faithfulness:
    """What the artifact holds."""
    return Faithfulness(
        schema_version=FAITHFULNESS_VERSION,
        settings=Settings(
            model=request.model_name,
            model_args=request.source.arguments_text,
            embedder=embedder,
            max_answer_tokens=design.max_answer_tokens,
            random_rankings=design.random_rankings,
            seed=design.seed,
            absence=design.absence,
            configs={digest: config.decisive_settings for digest, config in request.configs.items()},
            versions={"python": platform.python_version(), **dict(_versions())},
        ),
        samples=len(findings.cases),
        left_out=left_out_of(request, findings),
        fractions=FRACTIONS,
        measures=summarize(findings.curves, design.methods, design.absence, design.seed),
        seconds=mean_seconds(case.seconds for case in findings.cases),
        randomization=findings.randomization,
    )


def _versions() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def sample_lines(findings: Findings) -> Iterator[str]:
    """Curves of each sample, one line each, in the order of samples, absences and rankings."""
    for found in findings.curves:
        content = {
            "task": found.key.task,
            "doc_id": found.key.doc_id,
            "prompt_hash": found.key.prompt_hash,
            "absence": found.absence,
            "ranking": found.ranking,
            "quantities": {
                name: {"morf": curves.morf, "lerf": curves.lerf, "area": curves.area}
                for name, curves in found.quantities.items()
            },
        }
        if found.answers is not None:
            content["answers"] = {"morf": found.answers.morf, "lerf": found.answers.lerf}
        yield jsontext.dumps(content) + "\n"


def figures_text(found: Faithfulness) -> str:
    """The artifact as it lies on the disk."""
    return jsontext.dumps(found.model_dump(mode="json"), indent=1) + "\n"


def show(found: Faithfulness, findings: Findings) -> None:
    """Print tables, the verdict in words, and what could not be computed."""
    console = Console()

    def line(text: str) -> None:
        console.print(visible(text, console.encoding), markup=False, highlight=False, soft_wrap=True)

    for measure in found.measures:
        line(measure_heading(measure))
        console.print(measure_table(found, measure))
    line(LEGEND)
    for verdict in verdict_lines(found):
        line(verdict)
    for reason, number in findings.failed.items():
        line(f"not computed for {number}: {reason}")
    for reason, number in found.left_out.items():
        line(f"left out: {number}, {reason}")
