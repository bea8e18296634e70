"""From a sample to the prompt that the model was fed for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lm_eval.api.instance import Instance

from gilot_plugin.attribution.tokens import decode, make_prompt
from gilot_plugin.attribution.types import Prompt, Segment
from gilot_plugin.errors import PromptError
from gilot_plugin.harness.model_calls import encode_as_fed
from gilot_plugin.harness.run import EvaluationRun, Feed
from gilot_plugin.harness.samples import Sample


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    """The prompt of a sample.

    Attributes:
        prompt: As fed.
        truncated_tokens: Tokens that were cut off on the left and never read.
        choices: Tokens of each of the task's choices, as fed after the prompt; empty for generation.
        choice_texts: Text of each choice.
    """

    prompt: Prompt
    truncated_tokens: int
    choices: tuple[tuple[int, ...], ...] = ()
    choice_texts: tuple[str, ...] = ()


def generation_prompt(run: EvaluationRun, sample: Sample) -> SamplePrompt:
    """Prompt of a sample that the model answered by generating.

    Raises:
        PromptError: It is not known which part of it is chat template.
    """
    context, settings = sample.arguments[0]
    feed = _feed(run, sample, "generate_until", context, None, (context, settings))
    (whole,), _ = run.lm.tok_batch_encode([context])
    return SamplePrompt(_prompt(run, sample, feed), max(0, len(whole) - len(feed.token_ids)))


def choices_prompt(run: EvaluationRun, sample: Sample) -> SamplePrompt:
    """Prompt and choices of a multiple-choice sample.

    Raises:
        PromptError: The choices do not share one context, a choice has no tokens, or it is not known which
            part of the prompt is chat template.
    """
    arguments = _conditional(sample.arguments)
    contexts = {context for context, _ in arguments}
    if len(contexts) > 1:
        raise PromptError(
            f"the {len(arguments)} choices have {len(contexts)} different contexts (multiple inputs), so "
            "there is no single prompt to take words from"
        )
    feeds = [
        _feed(run, sample, "loglikelihood", context, continuation, (context, continuation))
        for context, continuation in arguments
    ]
    if not all(feed.continuation_ids for feed in feeds):
        raise PromptError("one of the choices has no tokens")
    # Choices of different lengths can push different numbers of tokens out of the window; explain what all
    # of them saw.
    shortest = min(feeds, key=lambda feed: len(feed.token_ids))
    return SamplePrompt(
        _prompt(run, sample, shortest),
        shortest.truncated_tokens,
        tuple(feed.continuation_ids for feed in feeds),
        tuple(str(continuation) for _, continuation in arguments),
    )


def _conditional(arguments: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
    """Drop the requests without context that ``acc_mutual_info`` adds after the task's own."""
    half = len(arguments) // 2
    added = arguments[half:]
    continuations = [argument[1] for argument in arguments[:half]]
    if (
        half
        and [argument[1] for argument in added] == continuations
        and all(not context for context, _ in added)
    ):
        return arguments[:half]
    return arguments


def _feed(
    run: EvaluationRun,
    sample: Sample,
    request_type: str,
    context: str,
    continuation: str | None,
    arguments: Any,
) -> Feed:
    key = (context, continuation)
    if key not in run.feeds:
        identity = sample.identity
        request = Instance(
            request_type=request_type,
            doc=sample.doc,
            arguments=arguments,
            idx=0,
            metadata=(identity.task, identity.doc_id, 1),
        )
        encode_as_fed(run, request_type, request)
    return run.feeds[key]


def _prompt(run: EvaluationRun, sample: Sample, feed: Feed) -> Prompt:
    text = decode(run.lm.tokenizer, feed.token_ids)
    segments = list(_segments(run, sample.identity.task, feed.context, text))
    if run.has_template and not segments and run.tasks[sample.identity.task].config.scope != "all":
        raise PromptError(
            "which part of the prompt is chat template is not known, as the prompt comes from lm-eval's "
            "cache of requests: run without --cache_requests, or set scope='all'"
        )
    return make_prompt(run.lm.tokenizer, feed.token_ids, segments)


def _segments(run: EvaluationRun, task: str, context: str, text: str) -> Iterator[Segment]:
    """Move the parts of the context to where they stand in the decoded prompt.

    A beginning-of-sequence token makes the decoded prompt start earlier, truncation makes it start later.
    """
    shift = _shift(context, text)
    if shift is None:
        return
    for segment in run.parts.get((task, context)) or _messages(run, context):
        start, end = max(0, segment.start + shift), min(len(text), segment.end + shift)
        if start < end:
            yield Segment(start, end, segment.name)


def _messages(run: EvaluationRun, context: str) -> Sequence[Segment]:
    """Messages of a conversation whose parts are not known any further."""
    rendering = run.renderings.get(context) or next(
        (found for found in run.renderings.values() if found.text and context.startswith(found.text)), None
    )
    return rendering.segments() if rendering is not None else ()


def _shift(context: str, text: str) -> int | None:
    """Offset of the context in the decoded prompt, None if they do not line up."""
    context = context.rstrip()
    found = text.rfind(context)
    if found >= 0:
        return found
    tail = text.rstrip()
    ends_alike = bool(context) and bool(tail) and context[-1] == tail[-1]
    return len(tail) - len(context) if ends_alike else None
