"""Built-in plugin: the record of a chosen sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gilot_plugin.artifacts.records import Status, attributed_record, unattributed_record
from gilot_plugin.attribution.engine import attribute_choices, attribute_generation
from gilot_plugin.attribution.tokens import decode, token_label
from gilot_plugin.attribution.types import Attribution
from gilot_plugin.attribution.units import make_units
from gilot_plugin.errors import PromptError
from gilot_plugin.harness.prompts import SamplePrompt, choices_prompt, generation_prompt
from gilot_plugin.harness.run import EvaluationRun
from gilot_plugin.harness.samples import Sample
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.resolve import make_recipe

_LOGGER = logging.getLogger(__name__)

_EXPLAINED_TYPES = ("generate_until", "multiple_choice")


@hookimpl
def gilot_attribute_sample(run: EvaluationRun, sample: Sample) -> Mapping[str, Any]:
    """Explain the sample; whatever goes wrong is its record's reason and does not stop the others."""
    task = run.tasks[sample.identity.task]

    def unattributed(status: Status, reason: str) -> dict[str, Any]:
        return unattributed_record(
            sample.identity, status, reason, config_hash=task.config.hash, model=run.model_name
        )

    if run.unsupported is not None:
        return unattributed("skipped", run.unsupported)
    if task.output_type not in _EXPLAINED_TYPES:
        allowed = " and ".join(_EXPLAINED_TYPES)
        return unattributed(
            "skipped", f"requests of type {task.output_type!r} are not explained, only {allowed}"
        )
    if task.config.target == "choices" and task.output_type != "multiple_choice":
        return unattributed("skipped", f"target='choices': a {task.output_type!r} sample has no choices")
    try:
        attribution, target = _explain(run, sample)
        # A score that is NaN is refused here.
        return attributed_record(
            sample.identity, attribution, target=target, config_hash=task.config.hash, model=run.model_name
        )
    except PromptError as error:
        return unattributed("skipped", str(error))
    except Exception as error:
        _LOGGER.debug("attribution of %s doc %s failed", task.name, sample.identity.doc_id, exc_info=True)
        return unattributed("failed", f"{type(error).__name__}: {error}")


def _explain(run: EvaluationRun, sample: Sample) -> tuple[Attribution, dict[str, Any]]:
    task = run.tasks[sample.identity.task]
    config, tokenizer, backend = task.config, run.lm.tokenizer, run.backend
    assert backend is not None  # set when the run started, or else `unsupported` is
    recipe = make_recipe(config, backend, tokenizer, run.lm.prefix_token_id)
    has_choices = task.output_type == "multiple_choice"
    fed = choices_prompt(run, sample) if has_choices else generation_prompt(run, sample)
    units = make_units(fed.prompt, config.units, config.scope)
    run.progress.sample_started(sample.identity.task, sample.identity.doc_id, len(units))
    # Outcomes over choices are not defined for operators that read them from a second pass after a search.
    explain_choices = (
        has_choices and config.target != "generation" and recipe.absence.rescored_without is None
    )
    if explain_choices:
        attribution = attribute_choices(
            backend, fed.prompt, units, fed.choices, fed.choice_texts, recipe, run.progress.units_done
        )
        target: dict[str, Any] = {"gold": _gold(sample.target, fed.choice_texts)}
    else:
        attribution = attribute_generation(
            backend,
            fed.prompt,
            units,
            recipe,
            partial(token_label, tokenizer),
            partial(decode, tokenizer),
            run.progress.units_done,
        )
        target = {} if has_choices else {"response": sample.responses[0][0]}
    return _with_truncation(attribution, fed), target


def _gold(target: Any, texts: Sequence[str]) -> list[int]:
    """Numbers of the right choices; lm-eval's target is a number, a text, or a list of either."""
    answers = target if isinstance(target, (list, tuple)) else (target,)
    stripped = [text.strip() for text in texts]
    numbers = []
    for answer in answers:
        if isinstance(answer, str) and answer.strip() in stripped:
            numbers.append(stripped.index(answer.strip()))
        elif str(answer).lstrip("-").isdigit() and 0 <= int(answer) < len(texts):
            numbers.append(int(answer))
    return numbers


def _with_truncation(attribution: Attribution, fed: SamplePrompt) -> Attribution:
    diagnostics = replace(attribution.diagnostics, truncated_tokens=fed.truncated_tokens)
    return replace(attribution, diagnostics=diagnostics)
