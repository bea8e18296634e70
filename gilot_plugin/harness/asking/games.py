"""From a sample to the game that is played on its prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from gilot_plugin.attribution.builtins import FLIP
from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.games import choices_game, generation_game
from gilot_plugin.attribution.prompt.tokens import continuation_ids, decode, token_label
from gilot_plugin.attribution.prompt.units import Refinement
from gilot_plugin.attribution.prompt.windows import continued
from gilot_plugin.attribution.types import Attribution, Unit
from gilot_plugin.errors import PromptError
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.likelihoods import choice_lengths
from gilot_plugin.harness.asking.prompts import (
    SamplePrompt,
    choices_prompt,
    continuation_prompt,
    generation_prompt,
    rolling_prompt,
)
from gilot_plugin.harness.asking.windows import answer_verdict, answer_window
from gilot_plugin.harness.state.run import EvaluationRun, TaskInfo
from gilot_plugin.resolve import make_execution, make_recipe, unit_plan


class SampleGame(NamedTuple):
    """A sample that is to be explained.

    Attributes:
        game: The prompt, its units, and what is measured.
        fed: The prompt.
        describe: What the record says of the target beside the attribution.
    """

    game: Game
    fed: SamplePrompt
    describe: Callable[[Attribution], dict[str, Any]]


def sample_game(run: EvaluationRun, sample: Sample, *, measured: bool = True) -> SampleGame:
    """The game of a sample.

    Args:
        run: The run.
        sample: The sample.
        measured: Whether units are measured; else only what the model might say to the full prompt is asked.

    Raises:
        PromptError: It is not explained.
    """
    task = run.tasks[sample.identity.task]
    if run.unsupported is not None:
        raise PromptError(run.unsupported)
    has_choices = task.output_type == "multiple_choice"
    if task.config.target == "choices" and not has_choices:
        raise PromptError(f"target='choices': a {task.output_type!r} sample has no choices")
    config, tokenizer, backend = task.config, run.lm.tokenizer, run.backend
    assert backend is not None  # set when the run started, or else `unsupported` is
    if not measured:
        config = config.model_copy(update={"methods": ()})
    recipe = make_recipe(config, backend, tokenizer, run.lm.prefix_token_id)
    fed = _prompt_of(run, sample, task)
    # Outcomes over choices are not defined for operators that read them from a second pass after a search.
    of_choices = has_choices and config.target != "generation" and recipe.absence.rescored_without is None
    answer = fed.answer
    if answer is None and fed.response is not None:
        answer = tuple(continuation_ids(tokenizer, fed.prompt, fed.response))
    window = None
    if answer is not None and not of_choices:
        window = answer_window(
            task, config, sample, fed.response or "", answer, tokenizer, backend.limits.eos_token_ids
        )
    verdict = None
    if window is not None and measured and task.output_type == "generate_until":
        # Where hypotheses are the model's own anew, so is the way to what is scored.
        anew = config.hypotheses == "regenerate" and not window.is_start
        if anew or FLIP in recipe.methods:
            verdict = answer_verdict(run, task, sample, fed.response or "", len(window.tokens))
    if verdict is not None:
        recipe = replace(recipe, methods=tuple(dict.fromkeys((*recipe.methods, FLIP))))
    prompt = fed.prompt if window is None else continued(fed.prompt, window.before)
    units: Sequence[Unit] | Refinement = ()
    if measured:
        units = unit_plan(config, prompt)
        known = None if isinstance(units, Refinement) else len(units)
        run.progress.sample_started(sample.identity.task, sample.identity.doc_id, known)
    if of_choices:
        gold = _gold(task, sample, fed)
        game = choices_game(
            backend,
            prompt,
            units,
            fed.choices,
            fed.choice_texts,
            recipe,
            make_execution(config),
            run.progress.units_done,
            lengths=choice_lengths(task, sample, fed.choice_texts, bool(fed.unscored)),
            gold=gold,
            unscored=fed.unscored or None,
        )
        return SampleGame(game, fed, partial(_described_choices, gold))
    game = generation_game(
        backend,
        prompt,
        units,
        recipe,
        partial(token_label, tokenizer),
        partial(decode, tokenizer),
        make_execution(config),
        run.progress.units_done,
        answer=window,
        verdict=verdict,
    )
    said = {"response": fed.response, "response_ids": answer, "response_doubt": fed.response_doubt}
    described = {name: value for name, value in said.items() if value is not None}
    return SampleGame(game, fed, lambda _: described)


def _prompt_of(run: EvaluationRun, sample: Sample, task: TaskInfo) -> SamplePrompt:
    if task.output_type == "multiple_choice":
        return choices_prompt(run, sample)
    if task.output_type == "generate_until":
        return generation_prompt(run, sample)
    if task.output_type == "loglikelihood":
        return continuation_prompt(run, sample)
    if task.output_type != "loglikelihood_rolling":
        raise PromptError(f"requests of type {task.output_type!r} are not explained")
    if task.config.rolling_target is None:
        raise PromptError(
            "a text that is scored as a whole has no answer to explain: set rolling_target=N to explain its "
            "last N tokens by what precedes them"
        )
    return rolling_prompt(run, sample, task.config.rolling_target)


def _described_choices(gold: Sequence[int], attribution: Attribution) -> dict[str, Any]:
    described: dict[str, Any] = {"gold": gold}
    if attribution.margin is not None:
        described["margin"] = attribution.margin
    return described


def _gold(task: TaskInfo, sample: Sample, fed: SamplePrompt) -> list[int]:
    """Numbers of the right choices; lm-eval's target is a number, a text, or a list of either.

    Where the choices are in the contexts, the target is what follows them all, and the task's question is the
    number of the right one.
    """
    texts, target = fed.choice_texts, sample.target
    if fed.unscored and task.question_of is not None:
        target = task.question_of(sample.doc)
    answers = target if isinstance(target, (list, tuple)) else (target,)
    stripped = [text.strip() for text in texts]
    numbers = []
    for answer in answers:
        if isinstance(answer, str) and answer.strip() in stripped:
            numbers.append(stripped.index(answer.strip()))
        elif str(answer).lstrip("-").isdigit() and 0 <= int(answer) < len(texts):
            numbers.append(int(answer))
    return numbers
