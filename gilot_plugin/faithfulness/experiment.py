"""The whole test: attributions, curves of methods and controls, random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gilot_plugin import plugins
from gilot_plugin.artifacts.faithfulness import Randomization
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.backends.modes import evaluation_mode
from gilot_plugin.backends.protocol import Backend
from gilot_plugin.backends.reinitialization import reinitialized
from gilot_plugin.config import GilotConfig
from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.faithfulness.answers import Decoding
from gilot_plugin.faithfulness.cases import Case, Scored, subject_of
from gilot_plugin.faithfulness.curves import SampleCurves, SampleKey
from gilot_plugin.faithfulness.measurement import measure_faithfulness
from gilot_plugin.faithfulness.randomization import Twin, compare_with_random_weights
from gilot_plugin.faithfulness.scores import Scorer
from gilot_plugin.faithfulness.similarity import SentenceEmbedder
from gilot_plugin.faithfulness.store import ValueStore
from gilot_plugin.resolve import make_recipe

#: Settings that have nothing to do with what is computed of one sample.
_OF_RUNS = ("preset", "select", "budget", "resume", "output_path", "methods")


@dataclass(frozen=True)
class Design:
    """What is tested, and how.

    Attributes:
        methods: Attribution methods, in the order to show; those that a sample has no scores by are computed.
        absence: Ways to take units away.
        random_rankings: Random rankings a sample.
        max_answer_tokens: Longest answer, in tokens.
        seed: Of random rankings, ties, resampling and random weights.
        with_random_weights: Whether attributions are compared with those of random weights.
    """

    methods: tuple[str, ...]
    absence: tuple[str, ...]
    random_rankings: int = 5
    max_answer_tokens: int = 256
    seed: int = 0
    with_random_weights: bool = False


class TestedModel(Protocol):
    """A loaded model."""

    @property
    def model(self) -> Any:
        """The module."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""

    @property
    def empty_prompt_id(self) -> int | None:
        """What the model is fed when nothing is left of a prompt."""

    @property
    def backend(self) -> Backend:
        """Around the model."""

    def new_backend(self) -> Backend:
        """A backend that remembers nothing of the model's weights."""


@dataclass
class Findings:
    """What was found.

    Attributes:
        cases: Samples with the scores of all methods, as far as they could be computed.
        curves: Of each sample, absence and ranking.
        left_out: Samples without curves, by reason.
        randomization: None where the test was not asked for.
    """

    cases: list[Case] = field(default_factory=list)
    curves: list[SampleCurves] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    randomization: Randomization | None = None


class Watcher(Protocol):
    """Shows how far the test is."""

    def stage(self, name: str, total: int) -> None:
        """A part of the test begins, with so many things to do."""

    def done(self, count: int) -> None:
        """So many of them are done."""


def settings_of_samples(settings: Mapping[str, Any]) -> GilotConfig:
    """Settings of a run's manifest, as far as they say what is computed of one sample.

    Raises:
        ConfigError: They are not settings that this release knows.
    """
    return GilotConfig(**{name: value for name, value in settings.items() if name not in _OF_RUNS})


def removing(config: GilotConfig, absence: str) -> GilotConfig:
    """The settings with units taken away in this way.

    Raises:
        ConfigError: There is no such way, or it cannot be used here.
    """
    operators = plugins.absence_operators()
    possible = tuple(name for name, found in operators.items() if found.rescored_without is None)
    if absence not in possible:
        raise ConfigError(f"--absence {absence}: allowed are {one_of(possible)}")
    try:
        return settings_of_samples({**config.model_dump(), "absence": absence})
    except ConfigError as error:
        raise ConfigError(f"--absence {absence}: {error}") from None


def default_absence(configs: Iterable[GilotConfig]) -> tuple[str, ...]:
    """How the runs themselves took units away, where that can be used here; else by deleting them."""
    operators = plugins.absence_operators()
    found = dict.fromkeys(config.absence for config in configs)
    return tuple(name for name in found if operators[name].rescored_without is None) or ("delete",)


def run_experiment(
    loaded: TestedModel,
    cases: Sequence[Case],
    design: Design,
    store: ValueStore,
    embedder: SentenceEmbedder | None,
    watcher: Watcher,
) -> Findings:
    """Test the attributions of samples.

    Args:
        loaded: The model; its weights are the same afterwards.
        cases: The samples.
        design: What is tested.
        store: What was computed before is taken from it, what is computed goes into it.
        embedder: Compares answers; may be None if all samples have choices.
        watcher: Told how far it is.

    Raises:
        ConfigError: A setting does not fit the model.
        UnsupportedModelError: Absence or random weights are not possible with the model.
        ArtifactError: The store cannot be written.
    """
    findings = Findings()
    with evaluation_mode(loaded.model):
        fitting = [case for case in cases if _fits(loaded.backend, case, design, findings.left_out)]
        scorer = Scorer(loaded.backend, loaded.tokenizer, loaded.empty_prompt_id, store)
        scored = _with_all_scores(scorer, fitting, design.methods, watcher)
        for case in scored:
            if case.scores:
                findings.cases.append(case)
            else:
                findings.left_out["no method could be computed"] += 1
        findings.curves = _measured(loaded, findings.cases, design, store, embedder, watcher)
        if design.with_random_weights:
            findings.randomization = _randomized(loaded, findings.cases, design, store, watcher)
    return findings


def _fits(backend: Backend, case: Case, design: Design, left_out: Counter[str]) -> bool:
    needed = len(case.prompt.tokens) + (0 if case.choices else design.max_answer_tokens - 1)
    if backend.max_positions is not None and needed > backend.max_positions:
        left_out[
            f"prompt and answer need more than the model's {backend.max_positions} positions "
            "(--max_answer_tokens makes answers shorter)"
        ] += 1
        return False
    return True


def _with_all_scores(
    scorer: Scorer, cases: Sequence[Case], methods: Sequence[str], watcher: Watcher
) -> list[Case]:
    """The cases with the methods that they lack; those that fail are left out of a case."""
    lacking: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        lacking.setdefault(tuple(name for name in methods if name not in case.scores), []).append(case)
    wanted = {names: those for names, those in lacking.items() if names}
    found: dict[SampleKey, Case] = {}
    if wanted:
        watcher.stage("attributions", sum(map(len, wanted.values())))
    for names, those in wanted.items():
        for case, one in scorer.scores(those, names, watcher.done):
            if isinstance(one, Scored):
                found[case.key] = case.with_scores(one)
    return [found.get(case.key, case) for case in cases]


def _measured(
    loaded: TestedModel,
    cases: Sequence[Case],
    design: Design,
    store: ValueStore,
    embedder: SentenceEmbedder | None,
    watcher: Watcher,
) -> list[SampleCurves]:
    by_config: dict[str, list[Case]] = {}
    for case in cases:
        by_config.setdefault(case.config.hash, []).append(case)
    curves: list[SampleCurves] = []
    decoding = Decoding(max_new_tokens=design.max_answer_tokens)
    for those in by_config.values():
        subjects = [subject_of(case, design.methods, design.seed, design.random_rankings) for case in those]
        watcher.stage("reduced prompts", 0)
        curves += measure_faithfulness(
            loaded.backend,
            loaded.tokenizer,
            subjects,
            _recipes(loaded, those[0].config, design.absence),
            embedder,
            store,
            decoding,
            _as_steps(watcher),
        )
    return curves


def _recipes(loaded: TestedModel, config: GilotConfig, absence: Iterable[str]) -> dict[str, Recipe]:
    return {
        name: make_recipe(removing(config, name), loaded.backend, loaded.tokenizer, loaded.empty_prompt_id)
        for name in absence
    }


def _as_steps(watcher: Watcher) -> Callable[[int, int], None]:
    """From "so many of all" to "so many more"."""
    before = 0

    def progress(done: int, total: int) -> None:
        nonlocal before
        if done == 0:
            watcher.stage("reduced prompts", total)
        watcher.done(done - before)
        before = done

    return progress


def _randomized(
    loaded: TestedModel, cases: Sequence[Case], design: Design, store: ValueStore, watcher: Watcher
) -> Randomization:
    methods = tuple(name for name in design.methods if name in plugins.attribution_methods())
    watcher.stage("attributions with random weights", len(cases))
    twins = []
    with reinitialized(loaded.model, design.seed):
        scorer = Scorer(
            loaded.new_backend(), loaded.tokenizer, loaded.empty_prompt_id, store, weights_seed=design.seed
        )
        for case, found in scorer.scores(cases, methods, watcher.done):
            if isinstance(found, Scored):
                twins.append(Twin(case.key, case.scores, found.scores))
    return compare_with_random_weights(twins, methods, design.seed, design.seed)
