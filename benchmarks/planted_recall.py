"""How often attribution methods rank planted causes first, by method and setting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from planted_tasks import FILLER, Prompts, Task, Tokens, is_content
from scipy.stats import binomtest

from gilot_plugin.attribution.engine import attribute_together
from gilot_plugin.attribution.games import generation_game
from gilot_plugin.attribution.methods import OutcomeMethod
from gilot_plugin.attribution.prompt.tokens import decode, make_prompt, token_label
from gilot_plugin.attribution.types import Attribution
from gilot_plugin.backends.modes import evaluation_mode
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.plugins.offers import attribution_methods, schemes
from gilot_plugin.resolve import make_execution, make_recipe, unit_plan
from gilot_plugin.settings.config import GilotConfig

#: Prompts that go through a model together.
_TOGETHER = 25


_DEFAULT = GilotConfig()


@dataclass(frozen=True, slots=True)
class Setting:
    """Settings that are varied, as in :class:`gilot_plugin.GilotConfig`, whose defaults they share."""

    hypotheses: str = _DEFAULT.hypotheses
    absence: str = _DEFAULT.absence
    steps: str = _DEFAULT.steps
    num_beams: int = _DEFAULT.num_beams
    max_new_tokens: int = _DEFAULT.max_new_tokens
    ground_cost: str = _DEFAULT.ground_cost
    scheme: str = _DEFAULT.scheme

    def shows(self, task: Task) -> bool:
        """Whether what is compared can tell anything of a task's causes: an end follows whatever ended."""
        return self.steps == "mean" or not task.ends

    def __str__(self) -> str:
        # The answer is one hypothesis, whatever the beams.
        beams = () if self.hypotheses == "response" else (f"K={self.num_beams}",)
        cost = () if self.ground_cost == "cosine" else (self.ground_cost,)
        scheme = () if self.scheme == _DEFAULT.scheme else (self.scheme,)
        return " ".join(
            (self.hypotheses, self.absence, self.steps, *beams, f"J={self.max_new_tokens}", *cost, *scheme)
        )


#: What tables of methods are for.
USUAL = Setting()

#: What is varied here, as the preset ``paper`` has it; the rest stays as by default, ``top_p`` among it.
PAPER = Setting(**GilotConfig(preset="paper").model_dump(include=set(asdict(USUAL))))

_HYPOTHESES = ("regenerate", "shared", "response")
_ABSENCES = ("delete", "mask", "replace")
_HORIZONS = ((1, 1), (4, 1), (USUAL.num_beams, USUAL.max_new_tokens))


def ground_costs() -> tuple[str, ...]:
    """Every ground cost that the setting offers."""
    return get_args(GilotConfig.model_fields["ground_cost"].annotation)


def every_setting() -> list[Setting]:
    """All combinations, the usual setting first; other ground costs of that and of the paper's."""
    combined = [
        Setting(hypotheses, absence, steps, beams, tokens)
        for hypotheses, absence, steps, (beams, tokens) in product(
            _HYPOTHESES, _ABSENCES, ("last", "mean"), _HORIZONS
        )
        # One step has no mean of its own, and the answer is one hypothesis whatever the beams.
        if (steps, tokens) != ("mean", 1) and (hypotheses, beams, tokens) != ("response", 4, 1)
    ]
    costs = [replace(base, ground_cost=cost) for base in (USUAL, PAPER) for cost in ground_costs()]
    return list(dict.fromkeys((USUAL, *combined, *costs)))


def single_changes() -> list[Setting]:
    """The usual setting, the paper's, and those that differ from one of them in one value."""
    return [
        setting
        for setting in every_setting()
        if min(_differences(setting, USUAL), _differences(setting, PAPER)) <= 1
    ]


def no_changes() -> list[Setting]:
    """The usual setting and the paper's."""
    return [USUAL, PAPER]


def schemes_alone() -> list[Setting]:
    """The usual setting by every scheme that comes with the package."""
    return [replace(USUAL, scheme=name) for name in schemes()]


#: What may be measured.
VARIED: Mapping[str, Callable[[], list[Setting]]] = {
    "none": no_changes,
    "one": single_changes,
    "all": every_setting,
    "scheme": schemes_alone,
}


def _differences(setting: Setting, base: Setting) -> int:
    mine, others = asdict(setting), asdict(base)
    horizons = [(values.pop("num_beams"), values.pop("max_new_tokens")) for values in (mine, others)]
    return sum(mine[name] != others[name] for name in mine) + (horizons[0] != horizons[1])


class Recall(NamedTuple):
    """How often the causes of a task's prompts came first.

    Attributes:
        task: The task's name.
        architecture: The model's.
        method: The attribution method.
        setting: The other settings.
        prompts: How many there were.
        first: In how many of them the unit with the highest score was a cause.
        every: In how many all causes came before all other units.
    """

    task: str
    architecture: str
    method: str
    setting: Setting
    prompts: int
    first: int
    every: int

    @property
    def rate(self) -> float:
        """Recall at rank 1."""
        return self.first / self.prompts

    def interval(self) -> tuple[float, float]:
        """95 % interval of :attr:`rate` (Clopper and Pearson 1934)."""
        found = binomtest(self.first, self.prompts).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)


def distance_names() -> tuple[str, ...]:
    """Methods that compare outcome distributions: those to which every setting matters."""
    return tuple(name for name, method in attribution_methods().items() if isinstance(method, OutcomeMethod))


def prompt_method_names() -> tuple[str, ...]:
    """Methods that look at the model, the prompt and its answer; of the settings, absence matters to some."""
    return tuple(
        name for name, method in attribution_methods().items() if not isinstance(method, OutcomeMethod)
    )


def recall(
    task: Task,
    architecture: str,
    model: Any,
    tokenizer: Any,
    prompts: Prompts,
    setting: Setting,
    methods: Sequence[str],
) -> list[Recall]:
    """Measure methods in a setting.

    Args:
        task: The task.
        architecture: Name of the model's.
        model: Solves the task.
        tokenizer: Its tokenizer.
        prompts: Of the task.
        setting: The settings.
        methods: Names of methods.

    Returns:
        One result a method.

    Raises:
        ConfigError: A method is not installed, or cannot explain this model.
    """
    config = GilotConfig(
        **asdict(setting),
        methods=tuple(methods),
        replace_with=FILLER if setting.absence == "replace" else None,
        num_threads=1,
    )
    firsts, everys = dict.fromkeys(methods, 0), dict.fromkeys(methods, 0)
    # Scores that tie, as those of a method that finds nothing do, say nothing about the order.
    generator = np.random.default_rng(0)
    scored = scores(model, tokenizer, prompts.token_ids, config)
    for token_ids, causes, by_method in zip(*prompts, scored, strict=True):
        is_cause = causes[is_content(token_ids)]
        for method, values in by_method.items():
            order = np.lexsort((generator.random(len(values)), -np.nan_to_num(values, nan=-np.inf)))
            firsts[method] += int(is_cause[order[0]])
            everys[method] += int(is_cause[order[: is_cause.sum()]].all())
    count = len(prompts.token_ids)
    return [
        Recall(task.name, architecture, method, setting, count, firsts[method], everys[method])
        for method in methods
    ]


def scores(
    model: Any, tokenizer: Any, token_ids: Tokens, config: GilotConfig
) -> Iterator[dict[str, NDArray[np.float64]]]:
    """Scores of each prompt's content tokens, in their order, by method.

    Args:
        model: A model of transformers.
        tokenizer: Its tokenizer.
        token_ids: Prompts, ``[prompts, length]``.
        config: The settings.

    Yields:
        For each prompt, ``[units]`` a method.
    """
    for attribution in attributions(model, tokenizer, token_ids, config):
        yield {method: np.array(values) for method, values in attribution.scores.items()}


def attributions(model: Any, tokenizer: Any, token_ids: Tokens, config: GilotConfig) -> Iterator[Attribution]:
    """Attributions of prompts, see :func:`scores`."""
    backend = TransformersBackend(model)
    recipe = make_recipe(config, backend, tokenizer)
    for start in range(0, len(token_ids), _TOGETHER):
        made = [make_prompt(tokenizer, row.tolist()) for row in token_ids[start : start + _TOGETHER]]
        with evaluation_mode(model):
            games = [
                generation_game(
                    backend,
                    prompt,
                    unit_plan(config, prompt),
                    recipe,
                    partial(token_label, tokenizer),
                    partial(decode, tokenizer),
                    make_execution(config),
                )
                for prompt in made
            ]
            found = dict(attribute_together(backend, games))
        for game in games:
            attribution = found[game]
            if isinstance(attribution, Exception):
                raise attribution
            yield attribution
