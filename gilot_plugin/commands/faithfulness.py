"""``gilot faithfulness``: does the answer change where an attribution says that it hangs?"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.commands.shared import DONE, FAILED, count, say, write
from gilot_plugin.errors import ConfigError, GilotError, PromptError
from gilot_plugin.reports.visible import visible

if TYPE_CHECKING:
    from gilot_plugin.artifacts.faithfulness import Faithfulness
    from gilot_plugin.config import GilotConfig
    from gilot_plugin.faithfulness.cases import Case
    from gilot_plugin.faithfulness.experiment import Design, Findings
    from gilot_plugin.harness.loading import LoadedModel, ModelSource
    from gilot_plugin.harness.prompt_files import WrittenPrompt

_PACKAGES = ("gilot-plugin", "lm_eval", "torch", "transformers", "POT", "sentence-transformers")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's options."""
    parser = commands.add_parser(
        "faithfulness",
        help="remove words in the order of their scores: does the model's answer follow? (against controls)",
        description="Removes the units of each prompt in the order of their scores, most and least relevant "
        "first, lets the model answer, and compares each method with rankings that know nothing. Killed or "
        "interrupted, the same command goes on where it was.",
    )
    parser.add_argument("run_dir", type=Path, nargs="?", metavar="RUN_DIR", help="output folder of a run")
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help='instead of a run: one prompt a line, or a .jsonl of {"prompt": TEXT} or {"messages": [...]}',
    )
    parser.add_argument(
        "--apply_chat_template", action="store_true", help="with --prompts: each is a message of the user"
    )
    parser.add_argument(
        "--gilot", type=Path, metavar="FILE.yaml", help="with --prompts: attribution settings"
    )
    parser.add_argument(
        "--gilot_args",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="with --prompts: attribution settings, which win over the file",
    )
    parser.add_argument("--model", help="lm-eval's model class (default: the run's, else hf)")
    parser.add_argument("--model_args", help="its arguments, e.g. pretrained=gpt2 (default: the run's)")
    parser.add_argument("--device", help="where to load the model (default: the run's)")
    parser.add_argument("--batch_size", help="of lm-eval's model; attributions find their own")
    parser.add_argument(
        "--methods",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="attribution methods to compute now, beside those that the run has scores by",
    )
    parser.add_argument(
        "--absence",
        type=_names,
        default=(),
        metavar="NAME,...",
        help="how units are removed, e.g. delete,mask (default: as in the run)",
    )
    parser.add_argument(
        "--embedder",
        metavar="PATH_OR_NAME",
        help="sentence-transformers model that compares answers (default: all-MiniLM-L6-v2)",
    )
    parser.add_argument(
        "--max_answer_tokens", type=_positive, default=256, help="longest answer (default: 256)"
    )
    parser.add_argument(
        "--random_rankings", type=_positive, default=5, help="random rankings a sample (default: 5)"
    )
    parser.add_argument("--limit", type=_positive, help="only the first so many samples")
    parser.add_argument("--seed", type=count, default=0, help="of rankings, ties and resampling (default: 0)")
    parser.add_argument(
        "--randomize_model",
        action="store_true",
        help="also compare the attributions with those of the same model with random weights",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write (default: beside the run or the prompts)"
    )
    parser.set_defaults(command=run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


@dataclass(frozen=True, eq=False)
class _Task:
    """What is tested, known before the model loads.

    Attributes:
        source: The model.
        model_name: Name to show.
        cases: Samples of a run; empty for prompts, which need the tokenizer.
        prompts: Prompts of a file; empty for a run.
        prompts_config: Settings for them.
        prompts_name: Name of the file.
        templated: Whether they go through the chat template.
        methods: To be tested, in the order to show.
        left_out: Samples that cannot be tested, by reason.
        folder: Where to write.
        date: In the names of the files.
    """

    source: ModelSource
    model_name: str
    cases: tuple[Case, ...]
    prompts: tuple[WrittenPrompt, ...]
    prompts_config: GilotConfig | None
    prompts_name: str
    templated: bool
    methods: tuple[str, ...]
    left_out: Counter[str]
    folder: Path
    date: str

    @property
    def configs(self) -> dict[str, GilotConfig]:
        """Settings by their hash."""
        found = (self.prompts_config,) if self.prompts_config is not None else ()
        return {config.hash: config for config in (*found, *(case.config for case in self.cases))}

    def path(self, kind: Any, suffix: str) -> Path:
        """One of the files."""
        return self.folder / companion_name(kind, self.date, suffix)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        ConfigError: An option or a file is wrong; said before a model loads.
        GilotError: Something failed.
    """
    from gilot_plugin.artifacts.writer import check_writable
    from gilot_plugin.faithfulness.experiment import Design, default_absence, removing
    from gilot_plugin.faithfulness.similarity import DEFAULT_EMBEDDER, SentenceEmbedder

    if (options.run_dir is None) == (options.prompts is None):
        raise ConfigError("give either the folder of a run or --prompts FILE")
    task = _of_run(options) if options.prompts is None else _of_prompts(options)
    absence = options.absence or default_absence(task.configs.values())
    for config in task.configs.values():
        for name in absence:
            removing(config, name)
    try:
        check_writable(task.folder)
    except GilotError as error:
        raise ConfigError(f"--output {task.folder}: {error}") from None
    design = Design(
        methods=task.methods,
        absence=tuple(absence),
        random_rankings=options.random_rankings,
        max_answer_tokens=options.max_answer_tokens,
        seed=options.seed,
        with_random_weights=options.randomize_model,
    )
    embedder = None
    name = options.embedder or DEFAULT_EMBEDDER
    if task.prompts or any(not case.choices for case in task.cases):
        embedder = SentenceEmbedder(name, device=options.device)
    return _test(task, design, embedder, name)


def _test(task: _Task, design: Design, embedder: Any, embedder_name: str) -> int:
    from gilot_plugin.faithfulness.experiment import run_experiment
    from gilot_plugin.faithfulness.store import ValueStore
    from gilot_plugin.harness.loading import load_model

    loaded = load_model(task.source)
    path = task.path("faithfulness_work", ".jsonl")
    identity = [task.source.model, task.source.arguments_text, str(getattr(loaded.model, "dtype", None))]
    store = ValueStore(json.dumps(identity), path)
    try:
        cases = [*task.cases, *_fed(task, loaded)]
        with _Bars().shown() as bars:
            findings = run_experiment(loaded, cases, design, store, embedder, bars)
    except KeyboardInterrupt:
        kept = len(store.answers) + len(store.numbers)
        say(f"interrupted: {kept} answers and numbers are in {path}; the same command goes on from there")
        return FAILED
    finally:
        store.close()
    if not findings.curves:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in _left_out(task, findings).items())
        raise GilotError(f"no sample could be tested: {reasons or 'there are none'}")
    found = _figures(task, design, findings, embedder_name if embedder is not None else "")
    _show(found)
    write(task.path("faithfulness_samples", ".jsonl"), "".join(_sample_lines(findings)))
    write(
        task.path("faithfulness", ".json"),
        json.dumps(found.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    )
    return DONE


def _of_run(options: argparse.Namespace) -> _Task:
    from gilot_plugin.artifacts.loading import load_run
    from gilot_plugin.artifacts.typed import scored_methods
    from gilot_plugin.faithfulness.cases import case_of_record
    from gilot_plugin.faithfulness.experiment import settings_of_samples

    for option in ("gilot", "gilot_args", "apply_chat_template"):
        if getattr(options, option):
            raise ConfigError(f"--{option} goes with --prompts: a run has its own settings and prompts")
    run = load_run(options.run_dir)
    if run.manifest is None:
        raise ConfigError(f"{run.folder}: the run has no manifest, which holds its settings")
    left_out = Counter(f"{record.status}: {record.reason}" for record in run.records if record.status != "ok")
    configs = {digest: settings_of_samples(given) for digest, given in run.manifest["configs"].items()}
    cases = []
    for record in run.explained[: options.limit]:
        try:
            cases.append(case_of_record(record, configs[record.config_hash]))
        except PromptError as error:
            left_out[str(error)] += 1
    if not cases:
        reasons = "; ".join(f"{reason} ({number})" for reason, number in left_out.items())
        raise ConfigError(f"{run.folder}: no sample can be tested: {reasons or 'the run has no records'}")
    described = run.manifest["model"]
    recorded: Mapping[str, Any] = {"model_args": {"pretrained": described["name"]}}
    if run.evaluation is not None:
        recorded = run.evaluation.arguments
    return _Task(
        source=_source(options, recorded),
        model_name=str(described["name"]),
        cases=tuple(cases),
        prompts=(),
        prompts_config=None,
        prompts_name="",
        templated=False,
        methods=_checked_methods(options.methods, scored_methods(run.explained)),
        left_out=left_out,
        folder=options.output or run.folder,
        date=run.date,
    )


def _of_prompts(options: argparse.Namespace) -> _Task:
    from gilot_plugin.config import AUTO_UNITS, GilotConfig
    from gilot_plugin.config_sources import merge, parse_args, read_yaml
    from gilot_plugin.harness.prompt_files import read_prompts

    path: Path = options.prompts
    written = read_prompts(path)[: options.limit]
    given = merge(
        read_yaml(options.gilot) if options.gilot is not None else {}, parse_args(options.gilot_args)
    )
    config = GilotConfig(**given)
    if config.target == "choices":
        raise ConfigError("target='choices': a prompt has no choices; allowed are 'auto' and 'generation'")
    if config.units == AUTO_UNITS:
        raise ConfigError("units='auto': units must be the same for all methods, e.g. 'word' or 'sentence'")
    source = _source(options, {})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    return _Task(
        source=source,
        model_name=str(source.arguments.get("pretrained", source.model)),
        cases=(),
        prompts=written,
        prompts_config=config,
        prompts_name=path.name,
        templated=options.apply_chat_template,
        methods=_checked_methods(options.methods, config.methods),
        left_out=Counter(),
        folder=options.output or path.parent,
        date=f"prompts-{digest}",
    )


def _source(options: argparse.Namespace, recorded: Mapping[str, Any]) -> ModelSource:
    from gilot_plugin.harness.loading import model_source

    return model_source(
        recorded,
        model=options.model,
        model_args=options.model_args,
        device=options.device,
        batch_size=options.batch_size,
    )


def _checked_methods(asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    from gilot_plugin import plugins
    from gilot_plugin.checking import member

    offered = plugins.attribution_methods()
    for name in asked:
        try:
            member(name, (*offered, *known), "--methods")
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return tuple(dict.fromkeys((*known, *asked)))


def _fed(task: _Task, loaded: LoadedModel) -> Iterator[Case]:
    """The prompts of a file as samples without scores."""
    from gilot_plugin.attribution.units import make_units
    from gilot_plugin.faithfulness.cases import Case, removable
    from gilot_plugin.harness.prompt_files import feed

    config = task.prompts_config
    for written in task.prompts:
        assert config is not None  # prompts come with settings
        try:
            key, prompt = feed(loaded.lm, task.prompts_name, written, task.templated)
            units = removable(make_units(prompt, config.units, config.scope))
        except PromptError as error:
            task.left_out[str(error)] += 1
        else:
            yield Case(key, prompt, units, config, {}, {})


def _left_out(task: _Task, findings: Findings) -> dict[str, int]:
    return dict(sorted((task.left_out + findings.left_out).items()))


def _figures(task: _Task, design: Design, findings: Findings, embedder: str) -> Faithfulness:
    from gilot_plugin.artifacts.faithfulness import FAITHFULNESS_VERSION, Faithfulness, Settings
    from gilot_plugin.faithfulness.curves import FRACTIONS
    from gilot_plugin.faithfulness.summary import mean_seconds, summarize

    return Faithfulness(
        schema_version=FAITHFULNESS_VERSION,
        settings=Settings(
            model=task.model_name,
            model_args=task.source.arguments_text,
            embedder=embedder,
            max_answer_tokens=design.max_answer_tokens,
            random_rankings=design.random_rankings,
            seed=design.seed,
            absence=design.absence,
            configs={digest: config.decisive_settings for digest, config in task.configs.items()},
            versions={"python": platform.python_version(), **dict(_versions())},
        ),
        samples=len(findings.cases),
        left_out=_left_out(task, findings),
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


def _sample_lines(findings: Findings) -> Iterator[str]:
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
        yield json.dumps(content) + "\n"


def _show(found: Faithfulness) -> None:
    from gilot_plugin.reports.faithfulness import measure_table, verdict_lines

    console = Console()
    for measure in found.measures:
        console.print(measure_table(found, measure))
    for line in verdict_lines(found):
        console.print(visible(line, console.encoding), markup=False, highlight=False)
    for reason, number in found.left_out.items():
        line = visible(f"left out: {number}, {reason}", console.encoding)
        console.print(line, markup=False, highlight=False)


class _Bars:
    """One bar for each part of the test, on standard error."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

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
