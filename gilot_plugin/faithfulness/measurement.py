"""The published experiment: units are removed in the order of a ranking, and the model answers again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gilot_plugin.attribution.prediction.greedy import Decoding, greedy_answers
from gilot_plugin.attribution.prediction.targets import check_positions
from gilot_plugin.attribution.recipe import Recipe
from gilot_plugin.attribution.types import Prompt
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.errors import ConfigError, PromptError, one_of
from gilot_plugin.faithfulness.ablations import NOTHING_REMOVED, Ablations, Numbers, distinct
from gilot_plugin.faithfulness.curves import (
    ALL_QUANTITIES,
    CHOICE_QUANTITIES,
    GENERATION_QUANTITIES,
    SIMILARITY,
    Quantity,
    SampleCurves,
)
from gilot_plugin.faithfulness.quantities import answer_numbers, choice_numbers, needs_answer, text_tokens
from gilot_plugin.faithfulness.ranked import RankedSample
from gilot_plugin.faithfulness.removal import Removals, Removed, checked_removals
from gilot_plugin.faithfulness.similarity import SentenceEmbedder
from gilot_plugin.faithfulness.store import NewAnswer, NewNumber, ValueStore

#: Called with the number of reduced prompts that are done, and of all.
CurveProgress = Callable[[int, int], None]

#: Reduced prompts whose answers are found together: enough to fill batches to the last.
_TOGETHER = 2048

_PUBLISHED = Decoding()


def measure_faithfulness(
    backend: Scorer,
    tokenizer: Any,
    samples: Sequence[RankedSample],
    absences: Mapping[str, Recipe],
    embedder: SentenceEmbedder | None,
    store: ValueStore,
    decoding: Decoding = _PUBLISHED,
    progress: CurveProgress | None = None,
    quantities: Collection[Quantity] = ALL_QUANTITIES,
) -> Iterator[SampleCurves]:
    """Measure what the removal of units does, under each ranking of each sample.

    Args:
        backend: The model.
        tokenizer: Its tokenizer, for the texts of answers.
        samples: The samples.
        absences: Ways to take units away, by the names that results carry: recipes, of which the operator
            removes units and the rest finds outcome distributions.
        embedder: Compares answers; may be None if all samples have choices, and without the similarity.
        store: What was computed before is taken from it, what is computed goes into it.
        decoding: How answers are decoded.
        progress: Told of reduced prompts that are done.
        quantities: What is measured, as far as a sample has it. Without the similarity reduced prompts are
            not answered, which costs most; without the transport distance no outcome distributions of free
            answers are computed.

    Yields:
        The curves of each sample, absence and ranking, in this order.

    Raises:
        ConfigError: There are answers to compare and no embedder, or a sample has none of the quantities.
        UnsupportedModelError: An absence needs explicit positions, which the model does not take.
        PromptError: A sample has no units, or units of the template, or does not fit into the model's window.
        ValueError: A ranking does not name each unit once.
        NonFiniteLogitsError: The model returned NaN.
        BudgetError: The memory budget is too small.
        ArtifactError: The store cannot be written.
    """
    for recipe in absences.values():
        check_positions(backend, recipe.absence)
    if embedder is None and SIMILARITY in quantities and any(not sample.choices for sample in samples):
        raise ConfigError("answers are compared by their embeddings: give an embedder")
    for sample in samples:
        _check_quantities(sample, quantities)
        _check_window(backend, sample, decoding)
    removals = [checked_removals(sample) for sample in samples]
    bar = _Bar(
        progress,
        len(absences) * sum(len(distinct(found.values())) for found in removals),
        sum(quantity in quantities for quantity in GENERATION_QUANTITIES),
    )
    run = _Run(backend, tokenizer, embedder, store, decoding, quantities, bar)
    for group in _groups(list(zip(samples, removals, strict=True))):
        yield from run.measure(
            [
                Ablations(backend, sample, name, recipe, found, store, decoding.execution)
                for sample, found in group
                for name, recipe in absences.items()
            ]
        )


class _Bar:
    """Counts parts of reduced prompts: one for each number that is computed by itself."""

    def __init__(self, progress: CurveProgress | None, total: int, parts: int) -> None:
        self._progress, self._total, self._parts, self._done = progress, total, max(1, parts), 0
        self.add(0)

    def add(self, parts: int) -> None:
        self._done += parts
        if self._progress is not None:
            self._progress(self._done // self._parts, self._total)

    def add_whole(self, prompts: int) -> None:
        self.add(self._parts * prompts)


class _Run(NamedTuple):
    """What is the same for all samples."""

    backend: Scorer
    tokenizer: Any
    embedder: SentenceEmbedder | None
    store: ValueStore
    decoding: Decoding
    quantities: Collection[Quantity]
    bar: _Bar

    def measure(self, group: Sequence[Ablations]) -> Iterator[SampleCurves]:
        """Curves of samples whose reduced prompts are answered together."""
        self._answer([one for one in group if not one.sample.choices])
        for one in group:
            yield from self._of_choices(one) if one.sample.choices else self._of_answers(one)

    def _answer(self, group: Sequence[Ablations]) -> None:
        """Find the answers that are not in the store."""
        waiting: dict[str, int] = {}
        missing: dict[str, Row] = {}
        for row in (row for one in group for row in self._answered(one)):
            key = self._answer_key(row)
            waiting[key] = waiting.get(key, 0) + 1
            if key not in self.store.answers:
                missing[key] = row
        # Answers are no part of their own where they are only the way to another number.
        parts = SIMILARITY in self.quantities
        self.bar.add(parts * sum(count for key, count in waiting.items() if key not in missing))
        for batch in greedy_answers(self.backend, missing.values(), self.decoding):
            keys = [self._answer_key(row) for row in batch]
            self.store.add(
                NewAnswer(key, answer, self._text(answer))
                for key, answer in zip(keys, batch.values(), strict=True)
            )
            self.bar.add(parts * sum(waiting[key] for key in keys))

    def _answered(self, ablations: Ablations) -> Iterable[Row]:
        """The prompts whose answers are needed."""
        if SIMILARITY in self.quantities:
            return ablations.rows.values()
        return (ablations.full_row,) if needs_answer(ablations.recipe, self.quantities) else ()

    def _of_choices(self, ablations: Ablations) -> list[SampleCurves]:
        texts = [self.tokenizer.decode(list(choice)) for choice in ablations.sample.choices]
        return ablations.curves(
            choice_numbers(self.backend, ablations, texts, self.quantities, self.bar.add_whole), texts=None
        )

    def _of_answers(self, ablations: Ablations) -> list[SampleCurves]:
        numbers: dict[Quantity, Numbers] = {}
        texts = None
        if SIMILARITY in self.quantities:
            length = None if ablations.sample.said is None else len(ablations.sample.said)
            texts = {
                removed: self._text(self._answer_to(row)[:length]) for removed, row in ablations.rows.items()
            }
            numbers[SIMILARITY] = self._similarity(ablations, texts)
        needed = needs_answer(ablations.recipe, self.quantities)
        answer = ablations.sample.said
        if answer is None and needed:
            answer = self._answer_to(ablations.full_row)
        numbers |= answer_numbers(self.backend, ablations, answer, self.quantities, self.bar.add)
        return ablations.curves(numbers, texts)

    def _answer_to(self, row: Row) -> tuple[int, ...]:
        return self.store.answers[self._answer_key(row)]

    def _similarity(self, ablations: Ablations, texts: Mapping[Removed, str]) -> Numbers:
        assert self.embedder is not None  # looked at before anything was computed
        reference, name = texts[NOTHING_REMOVED], self.embedder.name
        numbers = Numbers(
            lambda removed: self.store.key(SIMILARITY.name, None, name, reference, texts[removed])
        )
        missing = ablations.missing(numbers)
        found = self.embedder.similarities(reference, [texts[removed] for removed in missing])
        self.store.add(
            NewNumber(numbers.key(removed), SIMILARITY.name, value)
            for removed, value in zip(missing, found, strict=True)
        )
        return numbers

    def _answer_key(self, row: Row) -> str:
        return self.store.key(
            "answer", row, self.decoding.max_new_tokens, sorted(self.backend.limits.eos_token_ids)
        )

    def _text(self, answer: tuple[int, ...]) -> str:
        ids = list(text_tokens(self.backend, answer))
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def _groups(
    samples: Iterable[tuple[RankedSample, Mapping[str, Removals]]],
) -> Iterator[list[tuple[RankedSample, Mapping[str, Removals]]]]:
    """Samples that together have enough reduced prompts."""
    group: list[tuple[RankedSample, Mapping[str, Removals]]] = []
    count = 0
    for sample, removals in samples:
        group.append((sample, removals))
        count += len(distinct(removals.values()))
        if count >= _TOGETHER:
            yield group
            group, count = [], 0
    if group:
        yield group


def _check_quantities(sample: RankedSample, quantities: Collection[Quantity]) -> None:
    possible = CHOICE_QUANTITIES if sample.choices else GENERATION_QUANTITIES
    if not any(quantity in quantities for quantity in possible):
        names = one_of([quantity.name for quantity in possible])
        raise ConfigError(f"{sample.key}: none of its quantities is asked for: {names}")


def positions_needed(prompt: Prompt, choices: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """Positions that the full prompt and its answer take.

    The last token of an answer is never fed; choices are looked at where they are read.
    """
    return len(prompt.tokens) + (0 if choices else max_new_tokens - 1)


def _check_window(backend: Scorer, sample: RankedSample, decoding: Decoding) -> None:
    needed = positions_needed(sample.prompt, sample.choices, decoding.max_new_tokens)
    if backend.limits.max_positions is not None and needed > backend.limits.max_positions:
        raise PromptError(
            f"{sample.key}: the prompt's {len(sample.prompt.tokens)} tokens and an answer of "
            f"{decoding.max_new_tokens} need {needed} positions, the model has "
            f"{backend.limits.max_positions}: ask for shorter answers or leave the sample out"
        )
