"""The games that are played on a prompt: of what the model would say, of the task's choices, of an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gilot_plugin.attribution.builtins import LOGPROB, margin_drop
from gilot_plugin.attribution.distance.geometry import Labels
from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.measuring import Progress
from gilot_plugin.attribution.prediction.answers import Answer
from gilot_plugin.attribution.prediction.choices import ChoicesTarget, has_margin
from gilot_plugin.attribution.prediction.flips import Verdict
from gilot_plugin.attribution.prediction.generation import generation_target
from gilot_plugin.attribution.prediction.sequences import AnswerTarget
from gilot_plugin.attribution.prediction.targets import PromptRows
from gilot_plugin.attribution.prompt.units import Refinement
from gilot_plugin.attribution.prompt.windows import Window
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Prompt, Unit
from gilot_plugin.backends.scorer import Scorer

#: As much as the machine gives.
DEFAULT_EXECUTION = Execution()


def generation_game(
    backend: Scorer,
    prompt: Prompt,
    units: Sequence[Unit] | Refinement,
    recipe: Recipe,
    labels: Labels,
    decode: Callable[[Sequence[int]], str],
    execution: Execution = DEFAULT_EXECUTION,
    progress: Progress | None = None,
    *,
    answer: Sequence[int] | Window | None = None,
    verdict: Verdict | None = None,
) -> Game:
    """What the model would generate after the prompt.

    Args:
        backend: The model.
        prompt: The prompt as fed; before a window, :func:`~gilot_plugin.attribution.prompt.windows.continued`
            by what the model said there.
        units: The units, or how to find them.
        recipe: What is measured, and how.
        labels: Text of a token id, for flows.
        decode: Text of a hypothesis.
        execution: How the work is carried out.
        progress: Told of measured units.
        answer: Tokens that the model answered, or a window of them, for ``hypotheses: response`` and the
            method ``logprob``; None for its greedy continuation.
        verdict: What the metric sees of answers, for the method ``flip``; None where nobody can say.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the hypotheses do not fit into the model's window.
        NonFiniteLogitsError: The model returned NaN.
    """
    window: Window | None = None
    token_ids: Sequence[int] | None
    if isinstance(answer, Window):
        window, token_ids = answer, answer.token_ids
        if not window.is_start:
            recipe = replace(recipe, max_new_tokens=max(1, len(token_ids)))
    else:
        token_ids = answer
    return Game(
        backend,
        prompt,
        units,
        recipe,
        lambda: generation_target(backend, prompt, recipe, labels, decode, execution, token_ids, window),
        execution,
        progress,
        said=0 if window is None else window.start,
        verdict=verdict,
    )


def choices_game(
    backend: Scorer,
    prompt: Prompt,
    units: Sequence[Unit] | Refinement,
    choices: Sequence[Sequence[int]],
    texts: Sequence[str],
    recipe: Recipe,
    execution: Execution = DEFAULT_EXECUTION,
    progress: Progress | None = None,
    *,
    lengths: Sequence[int] | None = None,
    gold: Sequence[int] = (),
    unscored: Sequence[int] | None = None,
) -> Game:
    """Which of the task's choices the model prefers.

    Args:
        backend: The model.
        prompt: The context as fed.
        units: The units, or how to find them.
        choices: Token ids of each choice, as fed after the prompt.
        texts: Text of each choice.
        recipe: What is measured, and how; beams and steps do not matter here.
        execution: How the work is carried out.
        progress: Told of measured units.
        lengths: Characters of each choice as lm-eval counts them for ``acc_norm``; None for those of the
            texts.
        gold: Numbers of the right choices. If some are right and some are not, ``margin`` is measured, too.
        unscored: How many tokens of each choice belong to its context, where contexts differ; None for none.

    Raises:
        UnsupportedModelError: The absence needs explicit positions, which the model does not take.
        PromptError: The prompt and the longest choice do not fit into the model's window.
    """
    if has_margin(gold, len(choices)):
        recipe = replace(recipe, methods=(*recipe.methods, margin_drop(gold)))
    return Game(
        backend,
        prompt,
        units,
        recipe,
        lambda: ChoicesTarget(backend, prompt, recipe, choices, texts, lengths, gold, unscored),
        execution,
        progress,
    )


def answer_game(
    backend: Scorer,
    prompt: Prompt,
    units: Sequence[Unit],
    recipe: Recipe,
    answer: Answer,
    execution: Execution = DEFAULT_EXECUTION,
) -> Game:
    """How likely a given answer is, whatever its length; nothing else is measured.

    Args:
        backend: The model.
        prompt: The prompt as fed.
        units: The units.
        recipe: How units are taken away.
        answer: The answer.
        execution: How the work is carried out.
    """
    recipe = replace(recipe, methods=(LOGPROB,))
    rows = PromptRows(prompt, recipe)
    return Game(backend, prompt, units, recipe, lambda: AnswerTarget(rows, answer), execution)
