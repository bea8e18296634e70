"""What is kept of a test: the figures, and the curves of each sample."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version

from gilot_plugin.artifacts import jsontext
from gilot_plugin.artifacts.faithfulness import FAITHFULNESS_VERSION, Faithfulness, FaithfulnessSettings
from gilot_plugin.faithfulness.curves import FRACTIONS, SampleCurves
from gilot_plugin.faithfulness.experiment import Design, Findings
from gilot_plugin.faithfulness.summary import mean_seconds, summarize
from gilot_plugin.settings.config import GilotConfig

_PACKAGES = ("gilot-plugin", "lm_eval", "torch", "transformers", "POT", "sentence-transformers")


def settings_of(
    design: Design, configs: Iterable[GilotConfig], *, model: str, model_args: str, embedder: str
) -> FaithfulnessSettings:
    """What the figures depend on.

    Args:
        design: What is tested.
        configs: Settings of the attributions.
        model: Name of the model.
        model_args: Arguments that it was loaded with.
        embedder: Name of the model that compares answers; empty where none are compared.
    """
    return FaithfulnessSettings(
        model=model,
        model_args=model_args,
        embedder=embedder,
        max_answer_tokens=design.max_answer_tokens,
        random_rankings=design.random_rankings,
        seed=design.seed,
        absence=design.absence,
        configs={config.hash: config.decisive_settings for config in configs},
        versions=versions(),
    )


def figures_of(
    findings: Findings, design: Design, settings: FaithfulnessSettings, left_out: Mapping[str, int]
) -> Faithfulness:
    """The figures of all samples.

    Args:
        findings: What was found.
        design: What was tested.
        settings: What the figures depend on.
        left_out: Samples without curves, by reason.
    """
    return Faithfulness(
        schema_version=FAITHFULNESS_VERSION,
        settings=settings,
        samples=len(findings.cases),
        left_out=left_out,
        fractions=FRACTIONS,
        measures=summarize(findings.curves, design.methods, design.absence, design.seed),
        seconds=mean_seconds(case.seconds for case in findings.cases),
        randomization=findings.randomization,
    )


def versions() -> dict[str, str]:
    """Of the software that numbers depend on, by its name; what is not installed is left out."""
    return {"python": platform.python_version(), **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def figures_text(found: Faithfulness) -> str:
    """The figures as they lie on the disk."""
    return jsontext.dumps(found.model_dump(mode="json"), indent=1) + "\n"


def sample_lines(curves: Iterable[SampleCurves]) -> Iterator[str]:
    """Curves of each sample as they lie on the disk, one line each."""
    for found in curves:
        content = {
            "task": found.key.task,
            "doc_id": found.key.doc_id,
            "prompt_hash": found.key.prompt_hash,
            "absence": found.absence,
            "ranking": found.ranking,
            "quantities": {
                name: {"morf": one.morf, "lerf": one.lerf, "area": one.area}
                for name, one in found.quantities.items()
            },
        }
        if found.answers is not None:
            content["answers"] = {"morf": found.answers.morf, "lerf": found.answers.lerf}
        yield jsontext.dumps(content) + "\n"
