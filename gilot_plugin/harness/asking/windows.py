"""Which part of a sample's answer is explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.models.utils import postprocess_generated_text

from gilot_plugin.attribution.prediction.flips import Verdict
from gilot_plugin.attribution.prompt.tokens import locate_tokens
from gilot_plugin.attribution.prompt.windows import (
    AUTO,
    SCORED,
    START,
    Span,
    Window,
    find_window,
    span_window,
    start_window,
)
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.filters import AnswerFilter, Extracted
from gilot_plugin.harness.state.run import EvaluationRun, TaskInfo
from gilot_plugin.settings.config import GilotConfig

#: Tokens by which another answer may be longer at least.
_MORE = 16


def windowed(task: TaskInfo, config: GilotConfig) -> str | Mapping[str, str]:
    """The setting ``explain`` as it holds for a task.

    Args:
        task: The task.
        config: Its settings.
    """
    if config.explain != AUTO:
        return config.explain
    of_text = task.output_type == "generate_until" and config.steps == "mean"
    return SCORED if of_text and any(one.takes_out for one in _filters(task)) else START


def answer_window(
    task: TaskInfo,
    config: GilotConfig,
    sample: Sample,
    response: str,
    answer: Sequence[int],
    tokenizer: Any,
    eos_token_ids: Sequence[int],
) -> Window:
    """The part of a sample's answer that is explained.

    Args:
        task: Of the sample.
        config: Its settings.
        sample: The sample.
        response: What lm-eval's filters were given.
        answer: Tokens that followed the prompt, thoughts before the response among them.
        tokenizer: Of the model.
        eos_token_ids: Ids that end an answer, which is text.
    """
    ends = (place for place, token in enumerate(answer) if token in eos_token_ids)
    text, tokens = locate_tokens(tokenizer, answer[: next(ends, len(answer))])
    explain = windowed(task, config)
    if isinstance(explain, Mapping) or explain != SCORED:
        return find_window(tokens, explain, config.max_new_tokens)
    if task.output_type != "generate_until":
        # The metric saw how likely all of it is.
        return Window(tokens, 0, len(tokens), SCORED)
    found = _extracted(task, sample, response)
    if found.span is None:
        return start_window(tokens, config.max_new_tokens, SCORED, found.reason)
    span = _within(text, response, found.span)
    if span is None:
        reason = "the answer's tokens do not spell the text that the filters were given"
        return start_window(tokens, config.max_new_tokens, SCORED, reason)
    return span_window(tokens, span, SCORED, found.text)


def answer_verdict(
    run: EvaluationRun, task: TaskInfo, sample: Sample, response: str, length: int
) -> Verdict | None:
    """What the metric sees of other answers to a sample, by the filter that tells what it saw of this one.

    Args:
        run: The run.
        task: Of the sample.
        sample: The sample.
        response: What lm-eval's filters were given.
        length: Tokens of the answer.

    Returns:
        The verdict on answers that may be a quarter longer; None where the task's filters are not known.
    """
    filters = _filters(task)
    if not filters:
        return None
    found = _extracted(task, sample, response)
    filtering = next((one for one in filters if one.name == found.filter), filters[0])
    settings = sample.arguments[0][1]
    until = settings.get("until") or []
    until = [until] if isinstance(until, str) else list(until)

    def of(token_ids: Sequence[int]) -> str | None:
        text = str(run.lm.tok_decode(list(token_ids)))
        thought = getattr(run.lm, "think_end_token", None)
        cut = postprocess_generated_text(text, until, thought if isinstance(thought, str) else None)
        return filtering.extracted(cut, sample.doc).text

    most = int(settings.get("max_gen_toks") or getattr(run.lm, "max_gen_toks", 256))
    return Verdict(of, max(1, min(most, length + max(_MORE, length // 4))))


def _extracted(task: TaskInfo, sample: Sample, response: str) -> Extracted:
    """What the first filter that finds anything takes out; where none does, why the first does not."""
    filters = _filters(task)
    taking = [one for one in filters if one.takes_out] or filters
    tried = []
    for one in taking:
        tried.append(one.extracted(response, sample.doc))
        if tried[-1].span is not None:
            return tried[-1]
    return tried[0] if tried else Extracted("", reason="the task's filters are not known")


def _within(text: str, response: str, span: Span) -> Span | None:
    """A span of the response in the text of the answer's tokens, which ends with it or soon after."""
    at = text.rfind(response)
    return None if at < 0 else (span[0] + at, span[1] + at)


def _filters(task: TaskInfo) -> list[AnswerFilter]:
    return [AnswerFilter(ensemble.name, ensemble.filters) for ensemble in task.filters]
