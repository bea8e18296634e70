"""What ``gilot faithfulness`` is asked to test: samples of a run, or prompts of a file."""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.loading import LoadedRun, load_run
from gilot_plugin.artifacts.names import companion_name
from gilot_plugin.artifacts.typed import scored_methods
from gilot_plugin.attribution.prompt.units import make_units
from gilot_plugin.commands.shared import chosen_run
from gilot_plugin.errors import ConfigError, PromptError
from gilot_plugin.faithfulness.cases import Case, case_of_record, removable
from gilot_plugin.faithfulness.curves import (
    CHOICE_QUANTITIES,
    GENERATION_QUANTITIES,
    SIMILARITY,
    Quantity,
    quantities_named,
)
from gilot_plugin.faithfulness.experiment import settings_of_samples
from gilot_plugin.harness.entry.loading import LoadedModel, ModelSource, model_source
from gilot_plugin.harness.entry.prompt_files import WrittenPrompt, feed, read_prompts
from gilot_plugin.plugins import offers
from gilot_plugin.settings.checking import member
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.fields import AUTO_UNITS
from gilot_plugin.settings.sources import command_sources


@dataclass(frozen=True, eq=False)
class Request:
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
        quantities: To be measured.
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
    quantities: tuple[Quantity, ...]
    left_out: Counter[str]
    folder: Path
    date: str

    @property
    def compares_answers(self) -> bool:
        """Whether answers to prompts are compared."""
        return SIMILARITY in self.quantities and (
            bool(self.prompts) or any(not case.choices for case in self.cases)
        )

    @property
    def configs(self) -> dict[str, GilotConfig]:
        """Settings by their hash."""
        found = (self.prompts_config,) if self.prompts_config is not None else ()
        return {config.hash: config for config in (*found, *(case.config for case in self.cases))}

    def path(self, kind: Any, suffix: str) -> Path:
        """One of the files."""
        return self.folder / companion_name(kind, self.date, suffix)


def request_of_run(options: argparse.Namespace) -> Request:
    """Samples that were explained in a run, with their scores.

    Raises:
        ConfigError: Options do not go together, or no sample can be tested.
        ArtifactError: There is no such run, or it is broken.
    """
    for option in ("gilot", "gilot_args", "apply_chat_template"):
        if getattr(options, option):
            raise ConfigError(f"--{option} goes with --prompts: a run has its own settings and prompts")
    folder, date = chosen_run(
        options.run_dir, model=options.run_model, date=options.date, option="--run_model"
    )
    run = load_run(folder, date=date)
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
    return Request(
        source=_source(options, _recorded(run, described)),
        model_name=str(described["name"]),
        cases=tuple(cases),
        prompts=(),
        prompts_config=None,
        prompts_name="",
        templated=False,
        methods=_checked_methods(options.methods, scored_methods(run.explained)),
        quantities=quantities_named(
            options.quantities,
            [
                *(GENERATION_QUANTITIES if any(not case.choices for case in cases) else ()),
                *(CHOICE_QUANTITIES if any(case.choices for case in cases) else ()),
            ],
        ),
        left_out=left_out,
        folder=options.output_path or run.folder,
        date=run.date,
    )


def _recorded(run: LoadedRun, described: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the run says of how its model was loaded: lm-eval's results, else the manifest."""
    if run.evaluation is not None and run.evaluation.arguments.get("model_args"):
        return run.evaluation.arguments
    if "model_args" in described:
        return {"model": described.get("lm_eval_model"), "model_args": described["model_args"]}
    return {"model_args": {"pretrained": described["name"]}}


def request_of_prompts(options: argparse.Namespace) -> Request:
    """Prompts of a file, which are yet to be explained.

    Raises:
        ConfigError: The file or the settings are wrong.
    """
    for option in ("run_model", "date"):
        if getattr(options, option):
            raise ConfigError(f"--{option} chooses among runs: it does not go with --prompts")
    path: Path = options.prompts
    written = read_prompts(path)[: options.limit]
    config = GilotConfig(**command_sources(options.gilot, options.gilot_args).values)
    if config.target == "choices":
        raise ConfigError("target='choices': a prompt has no choices; allowed are 'auto' and 'generation'")
    if config.units == AUTO_UNITS:
        raise ConfigError("units='auto': units must be the same for all methods, e.g. 'word' or 'sentence'")
    source = _source(options, {})
    of_model = f"{source.model} {source.arguments_text}"
    return Request(
        source=source,
        model_name=str(source.arguments.get("pretrained", source.model)),
        cases=(),
        prompts=written,
        prompts_config=config,
        prompts_name=path.name,
        templated=options.apply_chat_template,
        methods=_checked_methods(options.methods, config.methods),
        quantities=quantities_named(options.quantities, GENERATION_QUANTITIES),
        left_out=Counter(),
        folder=options.output_path or path.parent,
        # Each model has figures of its own: a second one must not replace those of the first.
        date=f"prompts-{_digest(path.read_bytes())}-{_digest(of_model.encode())}",
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]


def _source(options: argparse.Namespace, recorded: Mapping[str, Any]) -> ModelSource:
    return model_source(
        recorded,
        model=options.model,
        model_args=options.model_args,
        device=options.device,
        batch_size=options.batch_size,
    )


def _checked_methods(asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    offered = offers.attribution_methods()
    for name in asked:
        try:
            member(name, (*offered, *known), "--methods")
        except ValueError as error:
            raise ConfigError(str(error)) from None
    return tuple(dict.fromkeys((*known, *asked)))


def fed_prompts(request: Request, loaded: LoadedModel) -> Iterator[Case]:
    """The prompts of a file as samples without scores."""
    config = request.prompts_config
    for written in request.prompts:
        assert config is not None  # prompts come with settings
        try:
            key, prompt = feed(loaded.lm, request.prompts_name, written, request.templated)
            units = removable(make_units(prompt, config.units, config.scope))
        except PromptError as error:
            request.left_out[str(error)] += 1
        else:
            yield Case(key, prompt, units, config, {}, {})
