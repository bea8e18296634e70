"""Attribution of a single prompt, without an evaluation around it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from gilot_plugin.attribution.engine import Progress, attribute_generation
from gilot_plugin.attribution.tokens import decode, make_prompt, token_label
from gilot_plugin.attribution.types import Attribution, Segment
from gilot_plugin.attribution.units import make_units
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.config import GilotConfig
from gilot_plugin.errors import ConfigError, PromptError
from gilot_plugin.recipes import make_recipe


def attribute(
    model: Any,
    tokenizer: Any,
    prompt: str | Sequence[int],
    config: GilotConfig | None = None,
    *,
    segments: Sequence[Segment] = (),
    progress: Progress | None = None,
) -> Attribution:
    """Explain what a model would generate after a prompt.

    Args:
        model: A loaded causal language model of transformers, where it is; PEFT models, too.
        tokenizer: Its tokenizer.
        prompt: Text, tokenised with the tokenizer's own special tokens, or the token ids to feed.
        config: Settings; None for the defaults. ``target`` must not be ``"choices"``.
        segments: Named parts of the decoded prompt, for ``scope`` and for the units' segments.
        progress: Called with the number of units that were measured since the last call.

    Returns:
        One score a unit and method, with flows, hypotheses and diagnostics.

    Raises:
        ConfigError: A setting does not fit the model.
        PromptError: The prompt is empty, nothing in it is in scope, or it does not fit the model's window.
        UnsupportedModelError: The model is not a decoder-only language model.
        NonFiniteLogitsError: The model returned NaN.
    """
    config = config or GilotConfig()
    if config.target == "choices":
        raise ConfigError("target='choices': a single prompt has no choices; allowed are 'auto' and 'generation'")
    backend = TransformersBackend(model)
    ids = tokenizer(prompt)["input_ids"] if isinstance(prompt, str) else [int(token_id) for token_id in prompt]
    if not ids:
        raise PromptError("the prompt is empty: it has no tokens")
    recipe = make_recipe(config, backend, tokenizer)
    made = make_prompt(tokenizer, ids, segments)
    units = make_units(made, config.units, config.scope)
    with evaluation_mode(model):
        return attribute_generation(
            backend, made, units, recipe, partial(token_label, tokenizer), partial(decode, tokenizer), progress
        )


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Switch dropout off for a while."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
