"""Samples with the attributions that are put to the test, and attributions computed for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.engine import attribute_together
from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.games import choices_game, generation_game
from gilot_plugin.attribution.prompt.tokens import continuation_ids, decode, token_label
from gilot_plugin.attribution.prompt.windows import START, Window, continued
from gilot_plugin.attribution.types import FIXED_SEGMENTS, TEMPLATE_SEGMENT, Attribution, Prompt, Unit
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.errors import GilotError, PromptError
from gilot_plugin.faithfulness.controls import control_rankings, sample_seed
from gilot_plugin.faithfulness.curves import SampleKey
from gilot_plugin.faithfulness.ranked import RankedSample, ranking_of
from gilot_plugin.resolve import make_execution, make_recipe
from gilot_plugin.settings.config import GilotConfig

#: Of fewer units there is no order.
MIN_UNITS = 2

#: Samples that are explained at once; fixed, because who shares a pass may move the last digits of a score,
#: and an interrupted run has to end with the numbers of an uninterrupted one.
TOGETHER = 8


@dataclass(frozen=True, eq=False)
class Case:
    """A sample, and how important its units are said to be.

    Attributes:
        key: Which sample.
        prompt: The prompt as fed.
        units: What may be removed; template and special tokens are never among them.
        config: Settings of the attribution.
        scores: For each method, one number a unit.
        seconds: For each method, how long its scores took.
        choices: Tokens of each of the task's choices as fed after the prompt; empty where the model answers
            freely.
        choice_texts: Text of each choice.
        lengths: Characters of each choice, where they are compared per character; None for log-likelihoods.
        unscored: How many tokens of each choice belong to its context, where contexts differ; None for none.
        response: What the model answered in the evaluation; None where that is not known.
        response_ids: Its tokens, thoughts included; None where they are not known.
        said: What was explained of it, where that is no beginning of it; the prompt then ends with what came
            before. None where it is.
    """

    key: SampleKey
    prompt: Prompt
    units: tuple[Unit, ...]
    config: GilotConfig
    scores: Mapping[str, tuple[float, ...]]
    seconds: Mapping[str, float]
    choices: tuple[tuple[int, ...], ...] = ()
    choice_texts: tuple[str, ...] = ()
    lengths: tuple[int, ...] | None = None
    unscored: tuple[int, ...] | None = None
    response: str | None = None
    response_ids: tuple[int, ...] | None = None
    said: tuple[int, ...] | None = None

    def with_scores(self, found: Scored) -> Case:
        """The case with more scores, which win over those that it has."""
        return replace(
            self, scores={**self.scores, **found.scores}, seconds={**self.seconds, **found.seconds}
        )


class Scored(NamedTuple):
    """Scores of one sample.

    Attributes:
        scores: For each method, one number a unit.
        seconds: For each method, how long that took.
        model_tokens: Tokens that the model read for all of them.
    """

    scores: Mapping[str, tuple[float, ...]]
    seconds: Mapping[str, float]
    model_tokens: float


def case_of_record(record: Record, config: GilotConfig) -> Case:
    """The case of a sample that was explained in a run.

    Args:
        record: With the status ok.
        config: The settings that it was explained with.

    Raises:
        PromptError: There are fewer than :data:`MIN_UNITS` units to remove, or a single choice.
    """
    places = [place for place, unit in enumerate(record.units) if unit.segment not in FIXED_SEGMENTS]
    units = removable([record.units[place] for place in places])
    target = record.target
    assert target is not None  # of records that are ok
    choices = target.choices
    if len(choices) == 1:
        raise PromptError("a single choice is always chosen")
    prompt, window = Prompt(record.prompt, record.tokens, _segments(record)), _window(record)
    if window is not None:
        prompt = continued(prompt, window.before)
        config = config.model_copy(update={"max_new_tokens": max(1, len(window.token_ids))})
    return Case(
        key=SampleKey(record.task, record.doc_id, record.prompt_hash),
        prompt=prompt,
        units=units,
        config=config,
        scores={method: tuple(values[place] for place in places) for method, values in record.scores.items()},
        seconds=method_seconds(record.diagnostics.get("seconds", {}), record.scores),
        choices=tuple(choice.token_ids for choice in choices),
        choice_texts=tuple(choice.text for choice in choices),
        lengths=tuple(_length(choice.text, choice.logprob, choice.normalized_logprob) for choice in choices)
        if choices and config.choice_scoring == "norm"
        else None,
        unscored=tuple(choice.unscored for choice in choices)
        if any(choice.unscored for choice in choices)
        else None,
        response=target.response,
        response_ids=target.response_ids,
        said=None if window is None else window.token_ids,
    )


def _window(record: Record) -> Window | None:
    """What was explained of the answer; None where that is its beginning, however long."""
    answer = record.answer
    if answer is None or not answer.window or answer.explain == START or answer.reason is not None:
        return None
    return Window(answer.tokens, answer.window[0], answer.window[-1] + 1, answer.explain)


def removable(units: Sequence[Unit]) -> tuple[Unit, ...]:
    """The units, if there is an order to test.

    Raises:
        PromptError: There are fewer than :data:`MIN_UNITS`.
    """
    if len(units) < MIN_UNITS:
        raise PromptError(f"fewer than {MIN_UNITS} units could be removed")
    return tuple(units)


def _segments(record: Record) -> tuple[str, ...]:
    """A record says of its units alone which part they lie in; what is no unit was out of scope."""
    segments = [TEMPLATE_SEGMENT] * len(record.tokens)
    for unit in (unit for unit in record.units if unit.end_token <= len(segments)):
        segments[unit.start_token : unit.end_token] = [unit.segment] * (unit.end_token - unit.start_token)
    return tuple(segments)


def _length(text: str, logprob: float, normalized: float) -> int:
    """Characters that lm-eval counted: what the log-likelihood was divided by."""
    ratio = logprob / normalized if normalized < 0 else float("nan")
    return round(ratio) if ratio >= 1 else max(1, len(text.strip()))


def method_seconds(seconds: Mapping[str, float], methods: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each method; distances have the model's and the measuring's in common."""
    shared = seconds.get("model", 0.0) + seconds.get("measure", 0.0)
    return {method: seconds.get(method, shared) for method in methods}


def ranked_sample(case: Case, methods: Sequence[str], seed: int, random_rankings: int) -> RankedSample:
    """The case with the rankings of the methods and of the controls."""
    ties = sample_seed(seed, case.key, "ties")
    rankings = {method: ranking_of(case.scores[method], ties) for method in methods if method in case.scores}
    controls = control_rankings(case.key, len(case.units), seed, random_rankings)
    return RankedSample(
        *(case.key, case.prompt, case.units, {**rankings, **controls}),
        *(case.choices, case.lengths, case.unscored, case.said),
    )


def in_groups(cases: Sequence[Case]) -> Iterator[list[Case]]:
    """Cases that are explained together: neighbours with the same settings."""
    remaining = iter(cases)
    group = list(islice(remaining, 1))
    for case in remaining:
        if len(group) == TOGETHER or case.config.hash != group[0].config.hash:
            yield group
            group = []
        group.append(case)
    if group:
        yield group


def score(
    backend: Scorer,
    tokenizer: Any,
    empty_prompt_id: int | None,
    cases: Sequence[Case],
    methods: Sequence[str],
) -> Iterator[tuple[Case, Scored | Exception]]:
    """Compute attributions of the cases' own units.

    Args:
        backend: The model.
        tokenizer: Its tokenizer.
        empty_prompt_id: See :func:`gilot_plugin.resolve.make_recipe`.
        cases: With the same settings.
        methods: What to compute.

    Yields:
        Each case with its scores, or with the error that ended it.

    Raises:
        ConfigError: The settings do not fit the model.
    """
    games: dict[Game, Case] = {}
    for case in cases:
        try:
            games[_game(backend, tokenizer, empty_prompt_id, case, methods)] = case
        except PromptError as error:
            yield case, error
    for game, found in attribute_together(backend, list(games)):
        yield games[game], _scored(found, methods) if isinstance(found, Attribution) else found


def _scored(found: Attribution, methods: Sequence[str]) -> Scored | Exception:
    if failed := found.diagnostics.failed_methods:
        return GilotError("; ".join(failed.values()))
    # With choices, a method comes by itself.
    scores = {method: found.scores[method] for method in methods}
    return Scored(
        scores, method_seconds(found.diagnostics.seconds, scores), float(found.diagnostics.model_tokens)
    )


def _game(
    backend: Scorer, tokenizer: Any, empty_prompt_id: int | None, case: Case, methods: Sequence[str]
) -> Game:
    config = case.config.model_copy(update={"methods": tuple(methods)})
    recipe = make_recipe(config, backend, tokenizer, empty_prompt_id)
    if case.choices:
        return choices_game(
            backend,
            case.prompt,
            case.units,
            case.choices,
            case.choice_texts,
            recipe,
            make_execution(config),
            lengths=case.lengths,
            unscored=case.unscored,
        )
    answer: Sequence[int] | None = case.response_ids if case.said is None else case.said
    if answer is None and case.response is not None:
        answer = continuation_ids(tokenizer, case.prompt, case.response)
    return generation_game(
        backend,
        case.prompt,
        case.units,
        recipe,
        partial(token_label, tokenizer),
        partial(decode, tokenizer),
        make_execution(config),
        answer=answer,
    )
