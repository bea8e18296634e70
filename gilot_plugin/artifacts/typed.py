"""Records as values with names and types, for whoever reads a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic.dataclasses import dataclass

from gilot_plugin.artifacts.models import RecordFields
from gilot_plugin.artifacts.records import RecordKey, failed_methods, text_of
from gilot_plugin.artifacts.values import value_of
from gilot_plugin.artifacts.verdicts import is_correct
from gilot_plugin.attribution.types import Token
from gilot_plugin.display import Displayed, strongest
from gilot_plugin.errors import ArtifactError, one_of

#: Whose scores count where nobody says: the transport distance, else the first that there is.
DEFAULT_METHOD = "ot"


@dataclass(frozen=True, kw_only=True)
class Record(RecordFields, Displayed):
    """What is known of one chosen sample; its fields are those of its model."""

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Record:
        """Give names and types to a valid record (see :mod:`gilot_plugin.artifacts.record_checks`)."""
        return value_of(cls, record)

    def __repr__(self) -> str:
        method = self.method
        if method is None:
            told = f"{self.status}: {(self.reason or '')[:120]!r}"
        else:
            scores = strongest([unit.text for unit in self.units], self.scores[method])
            told = f"{len(self.units)} units; {method}: {scores}"
        return f"Record({self.task!r}, document {self.doc_id}, {told})"

    @property
    def key(self) -> RecordKey:
        """What identifies the sample."""
        return self.task, self.doc_id, self.doc_hash, self.prompt_hash, self.target_hash

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The prompt as fed."""
        return self.prompt_tokens

    @cached_property
    def prompt(self) -> str:
        """The prompt as fed, decoded."""
        return text_of((token.text, token.start, token.end) for token in self.tokens)

    @cached_property
    def read_tokens(self) -> tuple[Token, ...]:
        """The prompt's tokens and, after them, what the model said before what is explained.

        Units count them through. Offsets lie in :attr:`read_text`.
        """
        answer, shift = self.answer, len(self.prompt)
        said = answer.tokens[: answer.window[0]] if answer is not None and answer.window else ()
        moved = (Token(token.id, token.text, token.start + shift, token.end + shift) for token in said)
        return (*self.tokens, *moved)

    @cached_property
    def read_text(self) -> str:
        """What :attr:`read_tokens` stand for."""
        return text_of((token.text, token.start, token.end) for token in self.read_tokens)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """For each unit, its first character in :attr:`read_text` and one past its last."""
        tokens = self.read_tokens
        return tuple((tokens[unit.start_token].start, tokens[unit.end_token - 1].end) for unit in self.units)

    @cached_property
    def correct(self) -> bool | None:
        """Whether the answer was right by the first metric that says so; None where no metric does."""
        verdicts = (is_correct(metric, value) for metric, value in self.metrics.items())
        return next((verdict for verdict in verdicts if verdict is not None), None)

    @property
    def failed_methods(self) -> Mapping[str, str]:
        """Why methods that were asked for have no scores, by their names."""
        return failed_methods({"diagnostics": self.diagnostics})

    def floor_of(self, method: str) -> float | None:
        """What scores of a method have to exceed to be more than noise; None where that was not measured."""
        floor = (self.diagnostics.get("noise_floor") or {}).get("scores", {}).get(method)
        return None if floor is None else float(floor)

    def below_floor(self, method: str) -> tuple[int, ...]:
        """Numbers of the units whose scores cannot be told from 0, as far as that was measured."""
        floor = self.floor_of(method)
        scores = self.scores.get(method, ()) if floor is not None else ()
        return tuple(index for index, score in enumerate(scores) if floor and abs(score) <= floor)

    @property
    def method(self) -> str | None:
        """Whose scores count where nobody says; None without scores."""
        return DEFAULT_METHOD if DEFAULT_METHOD in self.scores else next(iter(self.scores), None)


def scored_methods(records: Iterable[Record]) -> tuple[str, ...]:
    """Methods that any of the records has scores by."""
    return tuple(dict.fromkeys(name for record in records for name in record.scores))


def chosen_method(records: Sequence[Record], asked: str | None = None) -> str:
    """Whose scores count: the method asked for, else :data:`DEFAULT_METHOD`, else the first there is.

    Raises:
        ArtifactError: There are scores, but none by the method asked for.
    """
    there = scored_methods(records)
    # Where all samples were skipped or failed there is no method, and no score to miss.
    if asked is not None and there and asked not in there:
        failed = [record.failed_methods[asked] for record in records if asked in record.failed_methods]
        why = f", it failed: {failed[0]}" if failed else ""
        raise ArtifactError(f"no scores by method {asked!r}{why}; there are {one_of(there)}")
    return asked or (DEFAULT_METHOD if DEFAULT_METHOD in there or not there else there[0])
