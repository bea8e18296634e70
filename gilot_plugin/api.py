"""Attribution of a single prompt, without an evaluation around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import index
from typing import Any

from gilot_plugin.attribution.engine import attribute as explain
from gilot_plugin.attribution.games import generation_game
from gilot_plugin.attribution.measuring import Progress
from gilot_plugin.attribution.noise import noise_floor, remeasure
from gilot_plugin.attribution.prompt.tokens import (
    continuation_ids,
    decode,
    locate_tokens,
    make_prompt,
    token_label,
)
from gilot_plugin.attribution.prompt.windows import AUTO, SCORED, START, Window, continued, find_window
from gilot_plugin.attribution.types import Attribution, Prompt, Segment
from gilot_plugin.backends.modes import evaluation_mode
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import ConfigError, PromptError
from gilot_plugin.resolve import make_execution, make_recipe, unit_plan
from gilot_plugin.settings.config import GilotConfig, as_config


def attribute(
    model: Any,
    tokenizer: Any,
    prompt: str | Sequence[int],
    config: GilotConfig | Mapping[str, Any] | None = None,
    *,
    segments: Sequence[Segment] = (),
    response: str | Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Attribution:
    """Explain what a model would generate after a prompt.

    Args:
        model: A loaded causal language model of transformers, where it is; PEFT models, too.
        tokenizer: Its tokenizer.
        prompt: Text, tokenised with the tokenizer's own special tokens, or the token ids to feed.
        config: Settings; None for the defaults. ``target`` must not be ``"choices"``.
        segments: Named parts of the decoded prompt, for ``scope`` and for the units' segments.
        response: What the model answered, as text or token ids, for ``hypotheses="response"``, the method
            ``logprob`` and the setting ``explain``; None for the beginning of its greedy continuation.
        progress: Called with the number of units that were measured since the last call.

    Returns:
        One score a unit and method, with flows, hypotheses and diagnostics.

    Raises:
        ConfigError: A setting is wrong, or does not fit the model.
        PromptError: The prompt is empty, has tokens that the model does not know, is longer than the model's
            window, or has nothing in scope.
        UnsupportedModelError: The model is not a decoder-only language model.
        NonFiniteLogitsError: The model returned NaN.
    """
    config = as_config(config)
    if config.target == "choices":
        raise ConfigError(
            "target='choices': a single prompt has no choices; allowed are 'auto' and 'generation'"
        )
    backend = TransformersBackend(model)
    ids = _token_ids(prompt, tokenizer, backend.limits.vocab_size)
    recipe = make_recipe(config, backend, tokenizer)
    made = make_prompt(tokenizer, ids, segments)
    window = _window(config, backend, tokenizer, made, response)
    if window is not None:
        made = continued(made, window.before)
    units = unit_plan(config, made)
    with evaluation_mode(model):
        game = generation_game(
            backend,
            made,
            units,
            recipe,
            partial(token_label, tokenizer),
            partial(decode, tokenizer),
            make_execution(config),
            progress,
            answer=window,
        )
        attribution = explain(backend, game)
        if config.noise_floor is True and game.measures:
            # Not by itself, for it would add a fifth and more to the cost of a single prompt.
            floor = noise_floor([remeasure(game, attribution)])
            diagnostics = replace(attribution.diagnostics, noise_floor=floor)
            attribution = replace(attribution, diagnostics=diagnostics)
        return attribution


def _window(
    config: GilotConfig,
    backend: Scorer,
    tokenizer: Any,
    prompt: Prompt,
    response: str | Sequence[int] | None,
) -> Window | None:
    """The part of the response that is explained; None for the beginning of the greedy continuation.

    Raises:
        ConfigError: The setting ``explain`` needs a response, or a task.
    """
    if config.explain == SCORED:
        raise ConfigError(
            "explain='scored': a single prompt has no task whose filters say what is scored; allowed are "
            "'start', 'end', 'all' and {'regex': PATTERN}"
        )
    if response is None:
        if config.explain not in (AUTO, START):
            raise ConfigError(f"explain={config.explain!r} is a part of an answer: give the response")
        return None
    ids = continuation_ids(tokenizer, prompt, response) if isinstance(response, str) else list(response)
    ends = (place for place, token in enumerate(ids) if token in backend.limits.eos_token_ids)
    _, tokens = locate_tokens(tokenizer, ids[: next(ends, len(ids))])
    explain = START if config.explain == AUTO else config.explain
    return find_window(tokens, explain, config.max_new_tokens)


def _token_ids(prompt: str | Sequence[int], tokenizer: Any, vocab_size: int) -> list[int]:
    """The ids to feed."""
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt)["input_ids"])
    else:
        try:
            ids = [index(token_id) for token_id in prompt]
        except TypeError:
            raise PromptError(
                "the prompt must be text or a flat sequence of token ids; of a batch, give one row of its ids"
            ) from None
    if not ids:
        raise PromptError("the prompt is empty: it has no tokens")
    foreign = next((token_id for token_id in ids if not 0 <= token_id < vocab_size), None)
    if foreign is not None:
        raise PromptError(
            f"the model does not know the prompt's token id {foreign}: it has {vocab_size} tokens"
        )
    return ids
