"""Built-in plugin: the record of a chosen sample."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

from gilot_plugin.artifacts.records import RecordKey, Status, attributed_record, unattributed_record
from gilot_plugin.attribution.engine import (
    Inquiry,
    attribute_together,
    choices_inquiry,
    generation_inquiry,
)
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


#: Samples that are explained at once where none of them fills the device.
_MOST_TOGETHER = 16


class _Asked(NamedTuple):
    """A sample whose explanation is asked for.

    Attributes:
        inquiry: The question.
        fed: The prompt.
        describe: What the record says of the target beside the attribution.
    """

    inquiry: Inquiry[Any]
    fed: SamplePrompt
    describe: Callable[[Attribution], dict[str, Any]]


@hookimpl
def gilot_attribute_sample(run: EvaluationRun, sample: Sample) -> Mapping[str, Any]:
    """Explain the sample; whatever goes wrong is its record's reason and does not stop the others.

    Where it does not fill the device, the samples that come next are explained with it.
    """
    key = sample.identity.key
    while key not in run.ahead:
        found = next(run.under_way, None)
        if found is None:
            run.under_way = _records(run, [sample, *run.upcoming])
        else:
            run.ahead.update([found])
    return run.ahead.pop(key)


def _records(run: EvaluationRun, samples: Sequence[Sample]) -> Iterator[tuple[RecordKey, Mapping[str, Any]]]:
    """Records of the first sample, and of those after it that are explained with it, as they are ready."""
    asked: dict[Inquiry[Any], tuple[Sample, _Asked]] = {}
    width = 0
    for sample in samples[:_MOST_TOGETHER]:
        if sample.identity.task != samples[0].identity.task:
            break
        found = _attempt(run, sample, lambda sample: _ask(run, sample))
        if isinstance(found, _Asked):
            asked[found.inquiry] = (sample, found)
            width += found.inquiry.width
        else:
            yield sample.identity.key, found
        if run.backend is None or width >= run.backend.fill_tokens:
            break
    if asked:
        assert run.backend is not None
        for inquiry, answer in attribute_together(run.backend, list(asked)):
            sample, one = asked[inquiry]
            yield sample.identity.key, _attempt(run, sample, partial(_record, run, one, answer))


_FoundT = TypeVar("_FoundT")


def _attempt(
    run: EvaluationRun, sample: Sample, find: Callable[[Sample], _FoundT]
) -> _FoundT | Mapping[str, Any]:
    """What is looked for, or a record that says why it could not be found."""
    task = run.tasks[sample.identity.task]
    status: Status
    try:
        return find(sample)
    except PromptError as error:
        status, reason = "skipped", str(error)
    except Exception as error:
        _LOGGER.debug("attribution of %s doc %s failed", task.name, sample.identity.doc_id, exc_info=True)
        status, reason = "failed", f"{type(error).__name__}: {error}"
    return unattributed_record(
        sample.identity, status, reason, config_hash=task.config.hash, model=run.model_name
    )


def _record(
    run: EvaluationRun, asked: _Asked, answer: Attribution | Exception, sample: Sample
) -> Mapping[str, Any]:
    if isinstance(answer, Exception):
        raise answer
    # A score that is NaN is refused here.
    return attributed_record(
        sample.identity,
        _with_truncation(answer, asked.fed),
        target=asked.describe(answer),
        config_hash=run.tasks[sample.identity.task].config.hash,
        model=run.model_name,
    )


def _ask(run: EvaluationRun, sample: Sample) -> _Asked:
    """What is asked about a sample.

    Raises:
        PromptError: It is not explained.
    """
    task = run.tasks[sample.identity.task]
    if run.unsupported is not None:
        raise PromptError(run.unsupported)
    if task.output_type not in _EXPLAINED_TYPES:
        allowed = " and ".join(_EXPLAINED_TYPES)
        raise PromptError(f"requests of type {task.output_type!r} are not explained, only {allowed}")
    if task.config.target == "choices" and task.output_type != "multiple_choice":
        raise PromptError(f"target='choices': a {task.output_type!r} sample has no choices")
    config, tokenizer, backend = task.config, run.lm.tokenizer, run.backend
    assert backend is not None  # set when the run started, or else `unsupported` is
    recipe = make_recipe(config, backend, tokenizer, run.lm.prefix_token_id)
    has_choices = task.output_type == "multiple_choice"
    fed = choices_prompt(run, sample) if has_choices else generation_prompt(run, sample)
    units = unit_plan(config, fed.prompt)
    known = None if isinstance(units, Refinement) else len(units)
    run.progress.sample_started(sample.identity.task, sample.identity.doc_id, known)
    # Outcomes over choices are not defined for operators that read them from a second pass after a search.
    if has_choices and config.target != "generation" and recipe.absence.rescored_without is None:
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
        return _Asked(asked_choices, fed, partial(_described_choices, gold))
    response = None if has_choices else str(sample.responses[0][0])
    asked_generation = generation_inquiry(
        backend,
        fed.prompt,
        units,
        recipe,
        partial(token_label, tokenizer),
        partial(decode, tokenizer),
        run.progress.units_done,
        answer=None if response is None else continuation_ids(tokenizer, fed.prompt, response),
    )
    return _Asked(asked_generation, fed, lambda _: {} if response is None else {"response": response})


def _described_choices(gold: Sequence[int], attribution: Attribution) -> dict[str, Any]:
    described: dict[str, Any] = {"gold": gold}
    if attribution.margin is not None:
        described["margin"] = attribution.margin
    return described


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
