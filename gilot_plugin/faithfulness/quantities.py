"""Numbers of reduced prompts: how likely the answer still is, how far the outcomes moved, what is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import torch

from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.builtins import LOGPROB as ANSWER_DROP
from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.games import answer_game, choices_game, generation_game
from gilot_plugin.attribution.methods import Distance, OutcomeMethod
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.backends.scorer import Reference, Scorer
from gilot_plugin.backends.scoring.logprobs import IMPOSSIBLE
from gilot_plugin.backends.scoring.reducing import DenseReference
from gilot_plugin.errors import PromptError
from gilot_plugin.faithfulness.ablations import NOTHING_REMOVED, Ablations, Numbers
from gilot_plugin.faithfulness.curves import CHOSEN, LOGPROB, MARGIN, TRANSPORT, Quantity
from gilot_plugin.faithfulness.removal import Removed
from gilot_plugin.faithfulness.store import NewNumber

#: Reduced prompts of a sample between two visits to the store: what a killed run loses at most.
_AT_ONCE = 64

_TRANSPORT = next(method for method in BUILTIN_METHODS if method.name == TRANSPORT.name)

#: Gives the numbers of some reduced prompts, ``[removed]`` of each quantity.
_Compute = Callable[[Sequence[Removed]], Mapping[Quantity, Sequence[float]]]


class _Measured(NamedTuple):
    """A quantity as values of a game.

    Attributes:
        measure: How far the quantity is from the full prompt's.
        number: The quantity, from that value and the full prompt's outcomes,
            ``[steps, outcomes]``.
    """

    measure: OutcomeMethod
    number: Callable[[float, Reference], float]


def _choice_changed(present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    return absent.argmax(-1) != present.argmax(-1)


def _lead(logprobs: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """How far the full prompt's choice is ahead of the strongest other one."""
    possible = logprobs.clamp(min=IMPOSSIBLE)
    chosen = present.argmax(-1, keepdim=True).expand(*logprobs.shape[:-1], 1)
    return possible.gather(-1, chosen)[..., 0] - possible.scatter(-1, chosen, -torch.inf).amax(-1)


def _lead_drop(present: torch.Tensor, absent: torch.Tensor) -> torch.Tensor:
    return _lead(present, present) - _lead(absent, present)


def _lead_of(full: Reference) -> float:
    """The lead of the full prompt's choice after the full prompt itself."""
    assert isinstance(full, DenseReference)  # as that of choices is
    return float(_lead(full.logprobs, full.logprobs).mean())


#: In the order in which they are measured.
_OF_CHOICES: Mapping[Quantity, _Measured] = {
    CHOSEN: _Measured(
        Distance("changed", "whether another choice is preferred", _choice_changed),
        lambda changed, _: 1.0 - changed,
    ),
    MARGIN: _Measured(
        Distance("lead", "drop in the lead of the full prompt's choice, in nats", _lead_drop),
        lambda drop, full: _lead_of(full) - drop,
    ),
    TRANSPORT: _Measured(_TRANSPORT, lambda distance, _: distance),
}


def needs_answer(recipe: Recipe, quantities: Collection[Quantity]) -> bool:
    """Whether numbers of reduced prompts depend on what the model answers to the full one."""
    return LOGPROB in quantities or (TRANSPORT in quantities and recipe.hypotheses == "response")


def answer_numbers(
    backend: Scorer,
    ablations: Ablations,
    answer: tuple[int, ...] | None,
    quantities: Collection[Quantity],
    progress: Callable[[int], None],
) -> dict[Quantity, Numbers]:
    """Compute what is missing of a sample whose model answers freely.

    Args:
        backend: The model.
        ablations: The sample.
        answer: What the model answers to the full prompt, with its end if that was reached; may be None where
            :func:`needs_answer` says so.
        quantities: What is asked for, of the following.
        progress: Told of reduced prompts that are done, once for each quantity.

    Returns:
        Log-probability of the answer, in nats a token (its end does not count, unless there is nothing else),
        and transport distance from the full prompt's outcome distribution.
    """
    said = None if answer is None else text_tokens(backend, answer) or answer
    numbers: dict[Quantity, Numbers] = {}
    if LOGPROB in quantities:
        assert said is not None  # needs_answer
        numbers[LOGPROB] = _answer_logprobs(backend, ablations, said, progress)
    if TRANSPORT in quantities:
        numbers[TRANSPORT] = _outcome_distances(backend, ablations, said, progress)
    return numbers


def _answer_logprobs(
    backend: Scorer, ablations: Ablations, said: tuple[int, ...], progress: Callable[[int], None]
) -> Numbers:
    numbers = Numbers(lambda removed: ablations.key(LOGPROB.name, removed, said))
    sample = ablations.sample
    game = answer_game(
        backend,
        sample.prompt,
        sample.units,
        ablations.recipe,
        Answer(Candidates((said,))),
        ablations.execution,
    )

    def compute(some: Sequence[Removed]) -> Mapping[Quantity, Sequence[float]]:
        drops = game.values([ablations.absent(removed) for removed in some]).means(ANSWER_DROP.name)
        full = float(game.full.token_logprobs.clip(min=IMPOSSIBLE).sum())
        return {LOGPROB: [(full - drop) / len(said) for drop in drops]}

    _fill(ablations, {LOGPROB: numbers}, compute, progress)
    return numbers


def _outcome_distances(
    backend: Scorer, ablations: Ablations, said: tuple[int, ...] | None, progress: Callable[[int], None]
) -> Numbers:
    recipe = dataclasses.replace(ablations.recipe, methods=(_TRANSPORT,))
    given = said if recipe.hypotheses == "response" else None
    sample = ablations.sample
    numbers = Numbers(
        lambda removed: ablations.outcome_key(TRANSPORT.name, removed, given),
        # A distribution does not differ from itself.
        {NOTHING_REMOVED: 0.0},
    )
    compute = _played(
        ablations,
        {TRANSPORT: _OF_CHOICES[TRANSPORT]},
        lambda: generation_game(
            backend, sample.prompt, sample.units, recipe, str, str, ablations.execution, answer=given
        ),
    )
    _fill(ablations, {TRANSPORT: numbers}, compute, progress)
    return numbers


def choice_numbers(
    backend: Scorer,
    ablations: Ablations,
    texts: Sequence[str],
    quantities: Collection[Quantity],
    progress: Callable[[int], None],
) -> dict[Quantity, Numbers]:
    """Compute what is missing of a sample with choices.

    Args:
        backend: The model.
        ablations: The sample.
        texts: Text of each choice.
        quantities: What is asked for, of the following.
        progress: Told of reduced prompts that are done.

    Returns:
        Whether the choice is the full prompt's, by how much that one leads, and the transport distance
        between the distributions over the choices.

    Raises:
        PromptError: There is only one choice.
    """
    sample = ablations.sample
    if len(sample.choices) < 2:
        raise PromptError(f"{sample.key}: a single choice is always chosen; two at least are needed")
    scoring: Literal["sum", "norm"] = "sum" if sample.lengths is None else "norm"
    measured = {quantity: found for quantity, found in _OF_CHOICES.items() if quantity in quantities}
    methods = tuple(found.measure for found in measured.values())
    recipe = dataclasses.replace(ablations.recipe, methods=methods, choice_scoring=scoring)
    asked = (sample.choices, sample.lengths, sample.unscored)

    def of(quantity: Quantity) -> Numbers:
        return Numbers(lambda removed: ablations.outcome_key(f"choices {quantity.name}", removed, *asked))

    numbers = {quantity: of(quantity) for quantity in measured}
    compute = _played(
        ablations,
        measured,
        lambda: choices_game(
            backend,
            sample.prompt,
            sample.units,
            sample.choices,
            texts,
            recipe,
            ablations.execution,
            lengths=sample.lengths,
            unscored=sample.unscored,
        ),
    )
    _fill(ablations, numbers, compute, progress)
    return numbers


def text_tokens(backend: Scorer, answer: tuple[int, ...]) -> tuple[int, ...]:
    """The answer without the end of sequence."""
    return answer[:-1] if answer and answer[-1] in backend.limits.eos_token_ids else answer


def _fill(
    ablations: Ablations,
    numbers: Mapping[Quantity, Numbers],
    compute: _Compute,
    progress: Callable[[int], None],
) -> None:
    """Compute and keep what is missing of quantities that are computed together."""
    lacking = {removed for one in numbers.values() for removed in ablations.missing(one)}
    missing = sorted(lacking, key=lambda removed: -len(ablations.rows[removed].token_ids))
    progress(len(ablations.rows) - len(missing))
    for start in range(0, len(missing), _AT_ONCE):
        some = missing[start : start + _AT_ONCE]
        found = compute(some)
        new = (
            NewNumber(numbers[quantity].key(removed), quantity.name, value)
            for quantity, values in found.items()
            for removed, value in zip(some, values, strict=True)
        )
        # A run that was killed may have kept one of several numbers.
        ablations.store.add([one for one in new if one.key not in ablations.store.numbers])
        progress(len(some))


def _played(
    ablations: Ablations, measured: Mapping[Quantity, _Measured], make_game: Callable[[], Game]
) -> _Compute:
    """Computes quantities as values of one game."""
    games: list[Game] = []

    def compute(some: Sequence[Removed]) -> Mapping[Quantity, Sequence[float]]:
        # Made when it is needed: hypotheses of the full prompt may be searched at once.
        if not games:
            games.append(make_game())
        (game,) = games
        values = game.values([ablations.absent(removed) for removed in some])
        full = game.full
        return {
            quantity: [found.number(value, full) for value in values.means(found.measure.name)]
            for quantity, found in measured.items()
        }

    return compute
