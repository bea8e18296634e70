"""Attributions that are computed for the test, kept so that an interrupted test goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gilot_plugin.artifacts.models import SCHEMA_VERSION
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scorer import Scorer
from gilot_plugin.faithfulness.cases import Case, Scored, in_groups, score
from gilot_plugin.faithfulness.store import NewNumber, ValueStore


@dataclass(frozen=True, eq=False)
class CaseScorer:
    """Computes scores that are not in the store, and keeps them there.

    Attributes:
        backend: The model.
        tokenizer: Its tokenizer.
        empty_prompt_id: See :func:`gilot_plugin.resolve.make_recipe`.
        store: What was computed before.
        weights_seed: Of the random weights that the model has at present; None for its own.
    """

    backend: Scorer
    tokenizer: Any
    empty_prompt_id: int | None
    store: ValueStore
    weights_seed: int | None = None

    def scores(
        self, cases: Sequence[Case], methods: Sequence[str], progress: Callable[[int], None]
    ) -> Iterator[tuple[Case, Scored | Exception]]:
        """Scores of the cases' own units.

        Args:
            cases: The samples.
            methods: What to compute; methods that were computed together belong together.
            progress: Told how many more samples are done.

        Yields:
            Each case with its scores, or with the error that ended it.

        Raises:
            ConfigError: The settings do not fit the model.
            ArtifactError: A score is NaN, or the store cannot be written.
        """
        for group in in_groups(cases):
            kept = {case.key: self._kept(case, methods) for case in group}
            found: dict[Any, Scored | Exception] = {key: one for key, one in kept.items() if one is not None}
            # The whole group, so that an interrupted test ends with the numbers of an uninterrupted one.
            if len(found) < len(group):
                computed = score(self.backend, self.tokenizer, self.empty_prompt_id, group, methods)
                for case, one in computed:
                    if case.key not in found:
                        found[case.key] = one
                        self._keep(case, methods, one)
            for case in group:
                yield case, found[case.key]
            progress(len(group))

    def _kept(self, case: Case, methods: Sequence[str]) -> Scored | None:
        numbers = self.store.numbers
        keys = {method: self._keys(case, methods, method) for method in methods}
        if not all(key in numbers for of_method in keys.values() for key in of_method):
            return None
        values = {method: [numbers[key] for key in of_method] for method, of_method in keys.items()}
        return Scored(
            {method: tuple(scores) for method, (_, _, *scores) in values.items()},
            {method: seconds for method, (seconds, *_) in values.items()},
            max(tokens for _, tokens, *_ in values.values()),
        )

    def _keep(self, case: Case, methods: Sequence[str], found: Scored | Exception) -> None:
        if isinstance(found, Exception):
            return
        self.store.add(
            NewNumber(key, f"{method} {what}", value)
            for method in methods
            for key, what, value in zip(
                self._keys(case, methods, method),
                ("seconds", "tokens", *(unit.text for unit in case.units)),
                (found.seconds[method], found.model_tokens, *found.scores[method]),
                strict=True,
            )
        )

    def _keys(self, case: Case, methods: Sequence[str], method: str) -> list[str]:
        """Keys of the seconds, of the tokens and of each unit's score."""
        units = [(unit.start_token, unit.end_token) for unit in case.units]
        of_all = self.store.key(
            "scores and tokens",
            Row(case.prompt.token_ids),
            *(SCHEMA_VERSION, case.config.hash, self.weights_seed, list(methods), method),
            *(units, case.choices, case.lengths, case.response),
            *(() if case.unscored is None else (case.unscored,)),
            *(() if case.response_ids is None else (case.response_ids,)),
            *(() if case.said is None else ("said", case.said)),
        )
        return [self.store.key("score", None, of_all, place) for place in range(len(units) + 2)]
