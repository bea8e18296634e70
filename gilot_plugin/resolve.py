"""From settings to the recipe that the engine follows, for a given model and tokenizer."""

from __future__ import annotations

from typing import Any

from gilot_plugin.attribution.distance.ground_costs import ground_cost
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.methods import AttributionMethod, PromptMethod
from gilot_plugin.attribution.prediction.targets import check_positions
from gilot_plugin.attribution.prompt.absence import AbsenceContext
from gilot_plugin.attribution.prompt.units import Refinement, make_units
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.schemes.protocol import SchemeOptions
from gilot_plugin.attribution.transport import make_solver
from gilot_plugin.attribution.types import Prompt, Unit
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.errors import ConfigError, UnsupportedModelError
from gilot_plugin.plugins import offers
from gilot_plugin.settings.config import GilotConfig
from gilot_plugin.settings.fields import AUTO_UNITS, DEFAULT_UNIT_BUDGET


def make_recipe(
    config: GilotConfig, backend: Scorer, tokenizer: Any, empty_prompt_id: int | None = None
) -> Recipe:
    """Resolve the settings against a model.

    Args:
        config: The settings.
        backend: The model.
        tokenizer: Its tokenizer.
        empty_prompt_id: Token fed when nothing is left of a prompt; None for the tokenizer's beginning or end
            of sequence.

    Returns:
        The recipe.

    Raises:
        ConfigError: A setting does not fit the model or the tokenizer.
    """
    absence = offers.absence_operators()[config.absence]
    ground = ground_cost(config.ground_cost, config.cost_limit)
    try:
        check_positions(backend, absence)
        ground.vectors_of(backend.embeddings)
    except UnsupportedModelError as error:
        raise ConfigError(str(error)) from None
    if empty_prompt_id is None:
        known = (tokenizer.bos_token_id, tokenizer.eos_token_id, 0)
        empty_prompt_id = next(token_id for token_id in known if token_id is not None)
    methods = _methods(config, backend)
    return Recipe(
        num_beams=config.num_beams,
        max_new_tokens=config.max_new_tokens,
        hypotheses=config.hypotheses,
        steps=config.steps,
        choice_scoring=config.choice_scoring,
        absence=absence,
        absence_context=AbsenceContext(
            _replacement(config.replace_with, backend, tokenizer), empty_prompt_id
        ),
        methods=methods,
        solver=make_solver(
            config.solver,
            config.transport_tolerance,
            backend.embeddings.device,
            make_execution(config).threads,
        ),
        top_p=config.top_p,
        top_k=config.top_k,
        ground_cost=ground,
        scheme=offers.schemes()[config.scheme].make(
            SchemeOptions(
                None if config.coalitions == "auto" else config.coalitions, config.token_budget, config.seed
            )
        ),
        scheme_name=config.scheme,
        seed=config.seed,
        step_scores=config.step_scores,
    )


def make_execution(config: GilotConfig) -> Execution:
    """How the settings want the work carried out."""
    batch_size = None if config.batch_size == "auto" else config.batch_size
    return Execution(batch_size, config.memory_budget, config.num_threads)


def unit_plan(config: GilotConfig, prompt: Prompt) -> tuple[Unit, ...] | Refinement:
    """The units of a prompt, or how to find them.

    Raises:
        PromptError: Nothing is in scope.
    """
    if config.units == AUTO_UNITS:
        return Refinement(config.scope, config.unit_budget or DEFAULT_UNIT_BUDGET)
    return make_units(prompt, config.units, config.scope)


def _methods(config: GilotConfig, backend: Scorer) -> tuple[AttributionMethod, ...]:
    offered = offers.attribution_methods()
    methods = tuple(offered[name] for name in config.methods)
    for method in methods:
        why = method.refuses(backend) if isinstance(method, PromptMethod) else None
        if why is not None:
            raise ConfigError(f"methods: {method.name!r} cannot explain this model: {why}; leave it out")
    return methods


def _replacement(value: int | str | None, backend: Scorer, tokenizer: Any) -> int | None:
    if isinstance(value, str):
        ids = tokenizer(value, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise ConfigError(
                f"replace_with={value!r}: the text of exactly one token is allowed, this is {len(ids)}"
            )
        return int(ids[0])
    if value is not None and not 0 <= value < backend.limits.vocab_size:
        raise ConfigError(
            f"replace_with={value!r}: allowed are token ids from 0 to {backend.limits.vocab_size - 1}"
        )
    return value
