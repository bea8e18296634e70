"""From a sample to the prompt that the model was fed for it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from lm_eval.api.instance import Instance

from gilot_plugin.attribution.prompt.tokens import decode, make_prompt
from gilot_plugin.attribution.types import Prompt, Segment
from gilot_plugin.errors import PromptError
from gilot_plugin.extension.feeds import Feed
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.likelihoods import own_requests
from gilot_plugin.harness.state.model_classes import decode_answer, encode
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.harness.watching.model_calls import encode_as_fed, rolling_windows

#: What stands in a decoded text for bytes that are none.
_NO_TEXT = "\ufffd"


@dataclass(frozen=True, slots=True)
class SamplePrompt:
    """The prompt of a sample.

    Attributes:
        prompt: As fed.
        truncated_tokens: Tokens that were cut off on the left and never read.
        choices: Tokens of each of the task's choices, as fed after the prompt; empty for generation.
        choice_texts: Text of each choice.
        unscored: How many tokens of each choice belong to its context, where contexts differ; else empty.
        answer: Tokens that follow the prompt: what was scored, or what the model generated, if that is known.
        response: Their text; None for choices.
        response_doubt: Why they may be others than the model's own; None where nothing speaks for that.
    """

    prompt: Prompt
    truncated_tokens: int
    choices: tuple[tuple[int, ...], ...] = ()
    choice_texts: tuple[str, ...] = ()
    unscored: tuple[int, ...] = ()
    answer: tuple[int, ...] | None = None
    response: str | None = None
    response_doubt: str | None = None


def generation_prompt(run: EvaluationRun, sample: Sample) -> SamplePrompt:
    """Prompt of a sample that the model answered by generating.

    Raises:
        PromptError: It is not known which part of it is chat template.
    """
    context, settings = sample.arguments[0]
    feed = _feed(run, sample, "generate_until", context, None, (context, settings))
    response = str(sample.responses[0][0])
    answer = _generated(run, context, response)
    return SamplePrompt(
        _prompt(run, sample, feed),
        max(0, len(encode(run.lm, context)) - len(feed.token_ids)),
        answer=answer,
        response=response,
        response_doubt=_doubt(run, response) if answer is None else None,
    )


def _doubt(run: EvaluationRun, response: str) -> str | None:
    """Why an answer of which only the text is known may have had other tokens."""
    found = _thoughts_end(run)
    mark = decode_answer(run.lm, [found]) if isinstance(found, int) else found
    if mark is not None and mark not in response:
        return (
            "the model may have thought before it answered, and what is known of its answer has no thoughts: "
            "it is explained as if it had been said at once"
        )
    if _NO_TEXT in response:
        return "some of its bytes are no text, and what stands in their place was encoded again"
    return None


def _thoughts_end(run: EvaluationRun) -> str | int | None:
    found: str | int | None = getattr(run.lm, "think_end_token", None)
    return found


def _generated(run: EvaluationRun, context: str, response: str) -> tuple[int, ...] | None:
    """The tokens that the model generated, as far as the harness kept them; None if they are not known.

    Thoughts, which the harness strips off the answer, are among them: without them the model would not have
    said what it said.
    """
    thoughts_end = _thoughts_end(run)
    ids = run.seen.generated.get(context)
    if ids is None:
        return None
    text = decode_answer(run.lm, ids.tolist())
    start = 0
    if isinstance(thoughts_end, str):
        start = text.rfind(thoughts_end) + len(thoughts_end) if thoughts_end in text else 0
    elif isinstance(thoughts_end, int) and thoughts_end in ids:
        last = len(ids) - ids.tolist()[::-1].index(thoughts_end)
        start = len(decode_answer(run.lm, ids[:last].tolist()))
    found = text.find(response, start)
    if found < 0:
        return None
    end = found + len(response)

    def reach(last: int) -> int:
        return len(decode_answer(run.lm, ids[: last + 1].tolist()))

    length = bisect_left(range(len(ids)), end, key=reach)
    return tuple(ids[: length + 1]) if end else ()


def continuation_prompt(run: EvaluationRun, sample: Sample) -> SamplePrompt:
    """Context and continuation of a sample of which one log-likelihood was asked for.

    Raises:
        PromptError: The continuation has no tokens, or it is not known which part of the context is chat
            template.
    """
    context, continuation = sample.arguments[0]
    feed = _feed(run, sample, "loglikelihood", context, continuation, (context, continuation))
    if not feed.continuation_ids:
        raise PromptError("the continuation has no tokens")
    return SamplePrompt(
        _prompt(run, sample, feed),
        feed.truncated_tokens,
        answer=feed.continuation_ids,
        response=str(continuation),
    )


def rolling_prompt(run: EvaluationRun, sample: Sample, count: int) -> SamplePrompt:
    """The end of a text that was scored as a whole, and what the model saw before it.

    Args:
        run: The run.
        sample: The sample.
        count: How many of the last tokens are the answer; fewer if the last window scored fewer.

    Raises:
        PromptError: The text is too short.
    """
    windows = rolling_windows(run, _request(sample, "loglikelihood_rolling", sample.arguments[0]))
    if not windows:
        raise PromptError("the text has no tokens")
    context, scored = windows[-1]
    count = min(count, len(scored))
    seen, answer = [*context, *scored[:-count]], scored[-count:]
    if len(windows) == 1 and len(scored) == count:
        raise PromptError(
            f"the text has {len(scored)} tokens, so nothing precedes the last {count}: lower rolling_target"
        )
    total = sum(len(tokens) for _, tokens in windows)
    return SamplePrompt(
        make_prompt(run.lm.tokenizer, seen),
        max(0, total - len(seen) - count),
        answer=tuple(answer),
        response=decode(run.lm.tokenizer, answer),
    )


def choices_prompt(run: EvaluationRun, sample: Sample) -> SamplePrompt:
    """Prompt and choices of a multiple-choice sample.

    Raises:
        PromptError: A choice has no tokens, contexts that differ do not begin alike, or it is not known which
            part of the prompt is chat template.
    """
    arguments = own_requests(sample.arguments)
    feeds = [
        _feed(run, sample, "loglikelihood", context, continuation, (context, continuation))
        for context, continuation in arguments
    ]
    if not all(feed.continuation_ids for feed in feeds):
        raise PromptError("one of the choices has no tokens")
    if len({context for context, _ in arguments}) > 1:
        return _in_the_context(run, sample, feeds)
    # Choices of different lengths can push different numbers of tokens out of the window; explain what all
    # of them saw.
    shortest = min(feeds, key=lambda feed: len(feed.token_ids))
    return SamplePrompt(
        _prompt(run, sample, shortest),
        shortest.truncated_tokens,
        tuple(feed.continuation_ids for feed in feeds),
        tuple(str(continuation) for _, continuation in arguments),
    )


def _in_the_context(run: EvaluationRun, sample: Sample, feeds: Sequence[Feed]) -> SamplePrompt:
    """Choices that are put into the context: what the contexts begin with alike is the prompt.

    Raises:
        PromptError: They do not begin alike.
    """
    if len({feed.truncated_tokens for feed in feeds}) > 1:
        raise PromptError(
            f"the {len(feeds)} contexts are too long for the model's window and were cut at different "
            "places, so that they do not begin alike"
        )
    columns = zip(*(feed.token_ids for feed in feeds), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    if not shared:
        raise PromptError(f"the {len(feeds)} contexts do not begin with a common token")
    rests = [feed.token_ids[shared:] for feed in feeds]
    return SamplePrompt(
        _prompt(run, sample, feeds[0], shared),
        feeds[0].truncated_tokens,
        tuple((*rest, *feed.continuation_ids) for rest, feed in zip(rests, feeds, strict=True)),
        tuple(
            decode(run.lm.tokenizer, rest) + str(feed.continuation)
            for rest, feed in zip(rests, feeds, strict=True)
        ),
        tuple(map(len, rests)),
    )


def _feed(
    run: EvaluationRun,
    sample: Sample,
    request_type: str,
    context: str,
    continuation: str | None,
    arguments: Any,
) -> Feed:
    key = (context, continuation)
    if key not in run.seen.feeds:
        encode_as_fed(run, request_type, _request(sample, request_type, arguments))
    return run.seen.feeds[key]


def _request(sample: Sample, request_type: Any, arguments: Any) -> Instance:
    identity = sample.identity
    return Instance(
        request_type=request_type,
        doc=sample.doc,
        arguments=arguments,
        idx=0,
        metadata=(identity.task, identity.doc_id, 1),
    )


def _prompt(run: EvaluationRun, sample: Sample, feed: Feed, length: int | None = None) -> Prompt:
    """The fed context, or so many tokens of it."""
    text = decode(run.lm.tokenizer, feed.token_ids)
    segments = list(_segments(run, sample.identity.task, feed.context, text))
    if run.has_template and not segments and run.tasks[sample.identity.task].config.scope != "all":
        raise PromptError(
            "which part of the prompt is chat template is not known, as the prompt comes from lm-eval's "
            "cache of requests: run without --cache_requests, or set scope='all'"
        )
    return make_prompt(run.lm.tokenizer, feed.token_ids[:length], segments)


def _segments(run: EvaluationRun, task: str, context: str, text: str) -> Iterator[Segment]:
    """Move the parts of the context to where they stand in the decoded prompt.

    A beginning-of-sequence token makes the decoded prompt start earlier, truncation makes it start later.
    """
    shift = _shift(context, text)
    if shift is None:
        return
    for segment in run.seen.parts.get((task, context)) or _messages(run, context):
        start, end = max(0, segment.start + shift), min(len(text), segment.end + shift)
        if start < end:
            yield Segment(start, end, segment.name)


def _messages(run: EvaluationRun, context: str) -> Sequence[Segment]:
    """Messages of a conversation whose parts are not known any further."""
    rendering = run.seen.renderings.get(context) or next(
        (found for found in run.seen.renderings.values() if found.text and context.startswith(found.text)),
        None,
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
