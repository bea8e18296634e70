"""Numbers of reduced prompts: how likely the answer still is, how far the outcomes moved, what is chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from gilot_plugin.attribution.builtins import BUILTIN_METHODS
from gilot_plugin.attribution.distance.pair import OutcomePair
from gilot_plugin.attribution.distances import margin
from gilot_plugin.attribution.inquiry import Inquiry, choices_inquiry, generation_inquiry
from gilot_plugin.attribution.measuring import Measurer
from gilot_plugin.attribution.methods import Distance, Measurement
from gilot_plugin.attribution.prediction.answers import Answer, Candidates
from gilot_plugin.attribution.prediction.reading import BatchedReader
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.backends.protocol import Backend
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


def _still_chosen(pair: OutcomePair) -> Measurement:
    return Measurement(float(pair.log_absent.argmax() == pair.log_present.argmax()))


def _lead_of_choice(pair: OutcomePair) -> Measurement:
    return Measurement(margin(pair.log_absent, (int(pair.log_present.argmax()),)))


#: In the order of the distances that are measured together.
_OF_CHOICES: Mapping[Quantity, Distance] = {
    CHOSEN: Distance(CHOSEN.name, CHOSEN.summary, _still_chosen),
    MARGIN: Distance(MARGIN.name, MARGIN.summary, _lead_of_choice),
    TRANSPORT: _TRANSPORT,
}


def needs_answer(recipe: Recipe, quantities: Collection[Quantity]) -> bool:
    """Whether numbers of reduced prompts depend on what the model answers to the full one."""
    return LOGPROB in quantities or (TRANSPORT in quantities and recipe.hypotheses == "response")


def answer_numbers(
    backend: Backend,
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
    backend: Backend, ablations: Ablations, said: tuple[int, ...], progress: Callable[[int], None]
) -> Numbers:
    numbers = Numbers(lambda removed: ablations.key(LOGPROB.name, removed, said))

    def compute(some: Sequence[Removed]) -> Mapping[Quantity, Sequence[float]]:
        answer = Answer(Candidates((said,)))
        reader = BatchedReader(backend, ablations.subject.prompt, ablations.recipe, answer)
        found = reader.logprobs([ablations.absent(removed) for removed in some])
        return {LOGPROB: [float(value) / len(said) for value in found]}

    _fill(ablations, {LOGPROB: numbers}, compute, progress)
    return numbers


def _outcome_distances(
    backend: Backend, ablations: Ablations, said: tuple[int, ...] | None, progress: Callable[[int], None]
) -> Numbers:
    recipe = dataclasses.replace(ablations.recipe, methods=(_TRANSPORT,))
    given = said if recipe.hypotheses == "response" else None
    numbers = Numbers(
        lambda removed: ablations.outcome_key(TRANSPORT.name, removed, given),
        # A distribution does not differ from itself.
        {NOTHING_REMOVED: 0.0},
    )
    compute = _distances(
        backend,
        ablations,
        recipe,
        {TRANSPORT: _TRANSPORT},
        lambda: generation_inquiry(backend, ablations.subject.prompt, (), recipe, str, str, answer=given),
    )
    _fill(ablations, {TRANSPORT: numbers}, compute, progress)
    return numbers


def choice_numbers(
    backend: Backend,
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
    subject = ablations.subject
    if len(subject.choices) < 2:
        raise PromptError(f"{subject.key}: a single choice is always chosen; two at least are needed")
    scoring: Literal["sum", "norm"] = "sum" if subject.lengths is None else "norm"
    distances = {quantity: found for quantity, found in _OF_CHOICES.items() if quantity in quantities}
    recipe = dataclasses.replace(ablations.recipe, methods=tuple(distances.values()), choice_scoring=scoring)
    asked = (subject.choices, subject.lengths, subject.unscored)

    def of(quantity: Quantity) -> Numbers:
        return Numbers(lambda removed: ablations.outcome_key(f"choices {quantity.name}", removed, *asked))

    numbers = {quantity: of(quantity) for quantity in distances}
    _fill(
        ablations,
        numbers,
        _distances(
            backend,
            ablations,
            recipe,
            distances,
            lambda: choices_inquiry(
                backend,
                subject.prompt,
                (),
                subject.choices,
                texts,
                recipe,
                lengths=subject.lengths,
                unscored=subject.unscored,
            ),
        ),
        progress,
    )
    return numbers


def text_tokens(backend: Backend, answer: tuple[int, ...]) -> tuple[int, ...]:
    """The answer without the end of sequence."""
    return answer[:-1] if answer and answer[-1] in backend.eos_token_ids else answer


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


def _distances(
    backend: Backend,
    ablations: Ablations,
    recipe: Recipe,
    distances: Mapping[Quantity, Distance],
    make_inquiry: Callable[[], Inquiry[Any]],
) -> _Compute:
    """Computes distances from the full prompt's outcome distribution, which is computed once."""
    inquiries: list[Inquiry[Any]] = []

    def compute(some: Sequence[Removed]) -> Mapping[Quantity, Sequence[float]]:
        # Made when it is needed: hypotheses of the full prompt may be searched at once.
        if not inquiries:
            inquiries.append(make_inquiry())
        absent = [ablations.absent(removed) for removed in some]
        (found,) = Measurer(backend, recipe).measure([(inquiries[0].subject, absent)])
        return {
            quantity: [measured[column].score for measured in found]
            for column, quantity in enumerate(distances)
        }

    return compute
