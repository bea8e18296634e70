"""How ``gilot faithfulness`` runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager

from rich.console import Console

from gilot_plugin.artifacts.faithfulness import Faithfulness
from gilot_plugin.artifacts.writer import check_writable
from gilot_plugin.backends.fingerprint import weights_fingerprint
from gilot_plugin.commands.faithfulness_request import (
    Request,
    fed_prompts,
    request_of_prompts,
    request_of_run,
)
from gilot_plugin.commands.shared import DONE, FAILED, say, write
from gilot_plugin.errors import ConfigError, GilotError
from gilot_plugin.faithfulness.experiment import (
    Design,
    Findings,
    default_absence,
    removing,
    run_experiment,
)
from gilot_plugin.faithfulness.results import figures_of, figures_text, sample_lines, settings_of, versions
from gilot_plugin.faithfulness.similarity import DEFAULT_EMBEDDER, SentenceEmbedder
from gilot_plugin.faithfulness.store import ValueStore
from gilot_plugin.harness.entry.loading import LoadedModel, load_model
from gilot_plugin.harness.state.progress import counting_bars
from gilot_plugin.reports.faithfulness import LEGEND, measure_heading, measure_table, verdict_lines
from gilot_plugin.reports.visible import visible


def run_faithfulness(options: argparse.Namespace) -> int:
    """Check the options, test, print and write.

    Returns:
        0 done; 1 interrupted.

    Raises:
        ConfigError: An option or a file is wrong; said before a model loads.
        GilotError: Something failed.
    """
    if (options.run_dir is None) == (options.prompts is None):
        raise ConfigError("give either the folder of a run or --prompts FILE")
    request = request_of_run(options) if options.prompts is None else request_of_prompts(options)
    absence = options.absence or default_absence(request.configs.values())
    for config in request.configs.values():
        for name in absence:
            removing(config, name)
    try:
        check_writable(request.folder)
    except GilotError as error:
        raise ConfigError(f"--output_path {request.folder}: {error}") from None
    design = Design(
        methods=request.methods,
        absence=tuple(absence),
        random_rankings=options.random_rankings,
        max_answer_tokens=options.max_answer_tokens,
        seed=options.seed,
        with_random_weights=options.randomize_model,
        quantities=request.quantities,
    )
    embedder = None
    name = options.embedder or DEFAULT_EMBEDDER
    if request.compares_answers:
        embedder = SentenceEmbedder(name, device=options.device)
    return _test(request, design, embedder, name)


def _test(request: Request, design: Design, embedder: SentenceEmbedder | None, embedder_name: str) -> int:
    work = request.path("faithfulness_work", ".jsonl")
    try:
        loaded = load_model(request.source)
        with closing(ValueStore(_identity(request, loaded), work)) as store, _Bars().shown() as bars:
            cases = [*request.cases, *fed_prompts(request, loaded)]
            findings = run_experiment(loaded, cases, design, store, embedder, bars)
    except KeyboardInterrupt:
        say(f"interrupted; what was computed is in {work}, and the same command goes on from there")
        return FAILED
    left_out = dict(sorted((request.left_out + findings.left_out).items()))
    if not findings.curves:
        reasons = "; ".join(f"{reason} ({number})" for reason, number in left_out.items())
        raise GilotError(f"no sample could be tested: {reasons or 'there are none'}")
    settings = settings_of(
        design,
        request.configs.values(),
        model=request.model_name,
        model_args=request.source.arguments_text,
        embedder=embedder_name if embedder is not None else "",
    )
    found = figures_of(findings, design, settings, left_out)
    _show(found, findings)
    write(request.path("faithfulness_samples", ".jsonl"), "".join(sample_lines(findings.curves)))
    write(request.path("faithfulness", ".json"), figures_text(found))
    return DONE


def _show(found: Faithfulness, findings: Findings) -> None:
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


def _identity(request: Request, loaded: LoadedModel) -> str:
    """What numbers depend on: a folder may hold other weights by now, a library may compute otherwise."""
    told = {
        "model": request.source.model,
        "arguments": request.source.arguments_text,
        "dtype": str(getattr(loaded.model, "dtype", None)),
        "weights": weights_fingerprint(loaded.model),
        "versions": versions(),
    }
    return json.dumps(told, sort_keys=True)


class _Bars:
    """One bar for each part of the test, on standard error."""

    def __init__(self) -> None:
        self._bars = counting_bars()

    @contextmanager
    def shown(self) -> Iterator[_Bars]:
        """Show the bars."""
        with self._bars:
            yield self

    def stage(self, name: str, total: int) -> None:
        """A part of the test begins."""
        self._task = self._bars.add_task(name, total=total)

    def done(self, number: int) -> None:
        """So many things more are done."""
        self._bars.advance(self._task, number)
