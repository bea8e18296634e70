"""Built-in plugin: the record of a chosen sample."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gilot_plugin.artifacts.records import Status, attributed_record, unattributed_record
from gilot_plugin.attribution.engine import attribute, choices_inquiry, generation_inquiry
from gilot_plugin.attribution.refinement import Refinement
from gilot_plugin.attribution.tokens import continuation_ids, decode, token_label
from gilot_plugin.attribution.types import Attribution
from gilot_plugin.errors import PromptError
from gilot_plugin.harness.prompts import SamplePrompt, choices_prompt, generation_prompt
from gilot_plugin.harness.run import EvaluationRun, TaskInfo
from gilot_plugin.harness.samples import Sample
from gilot_plugin.hookspecs import hookimpl
from gilot_plugin.resolve import make_recipe, unit_plan

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
    units = unit_plan(config, fed.prompt)
    known = None if isinstance(units, Refinement) else len(units)
    run.progress.sample_started(sample.identity.task, sample.identity.doc_id, known)
    # Outcomes over choices are not defined for operators that read them from a second pass after a search.
    explain_choices = (
        has_choices and config.target != "generation" and recipe.absence.rescored_without is None
    )
    if explain_choices:
        gold = _gold(sample.target, fed.choice_texts)
        asked_choices = choices_inquiry(
            backend,
            fed.prompt,
            units,
            fed.choices,
            fed.choice_texts,
            recipe,
            run.progress.units_done,
            lengths=_choice_lengths(task, sample, fed.choice_texts),
            gold=gold,
        )
        attribution = attribute(backend, asked_choices)
        target: dict[str, Any] = {"gold": gold}
        if attribution.margin is not None:
            target["margin"] = attribution.margin
    else:
        response = None if has_choices else str(sample.responses[0][0])
        inquiry = generation_inquiry(
            backend,
            fed.prompt,
            units,
            recipe,
            partial(token_label, tokenizer),
            partial(decode, tokenizer),
            run.progress.units_done,
            answer=None if response is None else continuation_ids(tokenizer, fed.prompt, response),
        )
        attribution = attribute(backend, inquiry)
        target = {} if response is None else {"response": response}
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


def _choice_lengths(task: TaskInfo, sample: Sample, texts: Sequence[str]) -> list[int]:
    """Characters of each choice, without the delimiter before it, as ``acc_norm`` counts them."""
    choices = [] if task.choices_of is None else task.choices_of(sample.doc)
    pairs = list(zip(texts, map(str, choices), strict=False))
    if len(pairs) == len(texts) and all(text.endswith(choice) for text, choice in pairs):
        return [len(choice) for _, choice in pairs]
    return [len(text.strip()) for text in texts]


def _with_truncation(attribution: Attribution, fed: SamplePrompt) -> Attribution:
    diagnostics = replace(attribution.diagnostics, truncated_tokens=fed.truncated_tokens)
    return replace(attribution, diagnostics=diagnostics)
