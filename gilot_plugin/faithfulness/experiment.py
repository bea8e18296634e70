"""The whole test: attributions, curves of methods and controls, random weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gilot_plugin.artifacts.faithfulness import Randomization
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prediction.greedy import Decoding
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.backends.modes import evaluation_mode
from gilot_plugin.backends.reinitialization import reinitialized
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.errors import ConfigError, one_of
from gilot_plugin.faithfulness.cases import Case, Scored, ranked_sample
from gilot_plugin.faithfulness.curves import (
    ALL_QUANTITIES,
    CHOICE_QUANTITIES,
    GENERATION_QUANTITIES,
    Quantity,
    SampleCurves,
    SampleKey,
)
from gilot_plugin.faithfulness.measurement import measure_faithfulness, positions_needed
from gilot_plugin.faithfulness.randomization import Twin, compare_with_random_weights
from gilot_plugin.faithfulness.scores import CaseScorer
from gilot_plugin.faithfulness.similarity import SentenceEmbedder
from gilot_plugin.faithfulness.store import ValueStore
from gilot_plugin.plugins import offers
from gilot_plugin.resolve import make_execution, make_recipe
from gilot_plugin.settings.config import GilotConfig, uncombined

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
        quantities: What is measured, as far as a sample has it.
    """

    methods: tuple[str, ...]
    absence: tuple[str, ...]
    random_rankings: int = 5
    max_answer_tokens: int = 256
    seed: int = 0
    with_random_weights: bool = False
    quantities: tuple[Quantity, ...] = ALL_QUANTITIES


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
    def backend(self) -> Scorer:
        """Around the model."""

    def new_backend(self) -> Scorer:
        """A backend that remembers nothing of the model's weights."""


@dataclass
class Findings:
    """What was found.

    Attributes:
        cases: Samples with the scores of all methods, as far as they could be computed.
        curves: Of each sample, absence and ranking.
        left_out: Samples without curves, by reason.
        failed: For each reason, how many samples a method could not be computed for.
        randomization: None where the test was not asked for.
    """

    cases: list[Case] = field(default_factory=list)
    curves: list[SampleCurves] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
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
    return uncombined({name: value for name, value in settings.items() if name not in _OF_RUNS})


def removing(config: GilotConfig, absence: str) -> GilotConfig:
    """The settings with units taken away in this way.

    Raises:
        ConfigError: There is no such way, or it cannot be used here.
    """
    operators = offers.absence_operators()
    possible = tuple(name for name, found in operators.items() if found.rescored_without is None)
    if absence not in possible:
        raise ConfigError(f"--absence {absence}: allowed are {one_of(possible)}")
    changed = settings_of_samples({**config.model_dump(), "absence": absence})
    found = [one.message for one in changed.contradictions() if "absence" in (one.setting, one.because)]
    if found:
        raise ConfigError(f"--absence {absence}: {'; '.join(found)}")
    return changed


def default_absence(configs: Iterable[GilotConfig]) -> tuple[str, ...]:
    """How the runs themselves took units away, where that can be used here; else by deleting them."""
    operators = offers.absence_operators()
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
        embedder: Compares answers; may be None if all samples have choices, and without the similarity.
        watcher: Told how far it is.

    Raises:
        ConfigError: A setting does not fit the model.
        UnsupportedModelError: Absence or random weights are not possible with the model.
        ArtifactError: The store cannot be written.
    """
    findings = Findings()
    with evaluation_mode(loaded.model):
        fitting = [case for case in cases if _fits(loaded.backend, case, design, findings.left_out)]
        scorer = CaseScorer(loaded.backend, loaded.tokenizer, loaded.empty_prompt_id, store)
        scored = _with_all_scores(scorer, fitting, design.methods, watcher, findings.failed)
        for case in scored:
            if case.scores:
                findings.cases.append(case)
            else:
                findings.left_out["no method could be computed"] += 1
        findings.curves = _measured(loaded, findings.cases, design, store, embedder, watcher)
        if design.with_random_weights:
            findings.randomization = _randomized(loaded, findings.cases, design, store, watcher)
    return findings


def _fits(backend: Scorer, case: Case, design: Design, left_out: Counter[str]) -> bool:
    possible = CHOICE_QUANTITIES if case.choices else GENERATION_QUANTITIES
    if not any(quantity in design.quantities for quantity in possible):
        kind = "with choices" if case.choices else "without choices"
        left_out[f"a sample {kind} has none of the quantities that are asked for"] += 1
        return False
    needed = positions_needed(case.prompt, case.choices, design.max_answer_tokens)
    if backend.limits.max_positions is not None and needed > backend.limits.max_positions:
        left_out[
            f"prompt and answer need more than the model's {backend.limits.max_positions} positions "
            "(--max_answer_tokens makes answers shorter)"
        ] += 1
        return False
    return True


def _with_all_scores(
    scorer: CaseScorer, cases: Sequence[Case], methods: Sequence[str], watcher: Watcher, failed: Counter[str]
) -> list[Case]:
    """The cases with the methods that they lack, as far as these can be computed."""
    found = {case.key: case for case in cases}
    wanted = [
        (names, lacking)
        for names in computed_together(methods)
        if (lacking := [case for case in cases if not case.scores.keys() >= set(names)])
    ]
    if wanted:
        watcher.stage("attributions", sum(len(lacking) for _, lacking in wanted))
    for names, lacking in wanted:
        for case, one in scorer.scores(lacking, names, watcher.done):
            if isinstance(one, Scored):
                known = found[case.key].scores
                scores = {name: values for name, values in one.scores.items() if name not in known}
                found[case.key] = found[case.key].with_scores(one._replace(scores=scores))
            else:
                failed[f"{', '.join(names)}: {one}"] += 1
    return list(found.values())


def computed_together(methods: Sequence[str]) -> list[tuple[str, ...]]:
    """Methods as they are computed: all distances in one go, each other one by itself.

    What fails takes no other method along, and what is computed is kept whatever else is asked for. Scores
    that no method here gives are left out: the margin comes by itself with choices, and a plugin may not be
    installed.
    """
    offered = offers.attribution_methods()
    known = [name for name in methods if name in offered]
    distances = tuple(name for name in known if isinstance(offered[name], OutcomeMethod))
    others = [(name,) for name in known if name not in distances]
    return [distances, *others] if distances else list(others)


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
    for those in by_config.values():
        samples = [ranked_sample(case, design.methods, design.seed, design.random_rankings) for case in those]
        curves += measure_faithfulness(
            loaded.backend,
            loaded.tokenizer,
            samples,
            _recipes(loaded, those[0].config, design.absence),
            embedder,
            store,
            Decoding(design.max_answer_tokens, make_execution(those[0].config)),
            _as_steps(watcher),
            design.quantities,
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
    groups = computed_together(design.methods)
    watcher.stage("attributions with random weights", len(groups) * len(cases))
    scores: dict[SampleKey, dict[str, tuple[float, ...]]] = {case.key: {} for case in cases}
    with reinitialized(loaded.model, design.seed):
        scorer = CaseScorer(
            loaded.new_backend(), loaded.tokenizer, loaded.empty_prompt_id, store, weights_seed=design.seed
        )
        for names in groups:
            for case, found in scorer.scores(cases, names, watcher.done):
                if isinstance(found, Scored):
                    scores[case.key].update(found.scores)
    twins = [Twin(case.key, case.scores, scores[case.key]) for case in cases]
    methods = [name for names in groups for name in names]
    ordered = [name for name in design.methods if name in methods]
    return compare_with_random_weights(twins, ordered, design.seed, design.seed)
