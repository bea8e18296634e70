"""Samples of two runs and of repetitions, paired, with their scores on common pieces of the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gilot_plugin.artifacts.loading import FIRST_POSITION_LEFT_OUT, LoadedRun
from gilot_plugin.artifacts.records import RecordKey
from gilot_plugin.artifacts.typed import DEFAULT_METHOD, Record, scored_methods
from gilot_plugin.comparison.pieces import PairedPiece, common_pieces
from gilot_plugin.errors import ArtifactError, one_of

#: Least share of the words that two prompts must have in common.
MIN_COVERAGE = 0.5


@dataclass(frozen=True)
class Pair:
    """One document that both runs explained.

    Attributes:
        base: Its record in the base run.
        tuned: Its record in the other run.
        pieces: What both scored, in prompt order.
        coverage: Share of the prompts' words that both have; 1 where the prompts are the same.
    """

    base: Record
    tuned: Record
    pieces: tuple[PairedPiece, ...]
    coverage: float


class Unpaired(NamedTuple):
    """A document that is left out, and why.

    Attributes:
        task: Name of the task.
        doc_id: lm-eval's number of the document.
        reason: In words.
    """

    task: str
    doc_id: int
    reason: str


class Paired(NamedTuple):
    """Documents of two runs, and of repetitions of the base run.

    Attributes:
        pairs: The base run with the other one.
        repeated: For each repetition, the base run with it: the same documents, on the same pieces, as in
            ``pairs``, so that a shift and what repeating the base run shifts are means over the same things.
        unpaired: Documents that not all runs have, or that cannot be compared.
    """

    pairs: tuple[Pair, ...]
    repeated: tuple[tuple[Pair, ...], ...]
    unpaired: tuple[Unpaired, ...]


def pair_runs(base: LoadedRun, tuned: LoadedRun, method: str, noise: Sequence[LoadedRun] = ()) -> Paired:
    """Pair the samples of runs by task and document hash.

    Args:
        base: The one run.
        tuned: The other run.
        method: Whose scores are compared.
        noise: Repetitions of the base run.
    """
    pairs: list[Pair] = []
    repeated: list[list[Pair]] = [[] for _ in noise]
    unpaired: list[Unpaired] = []
    others = dict(_numbered(tuned.records))
    repetitions = [dict(_numbered(run.records)) for run in noise]
    older = [{record.key for record in run.without_first_position} for run in (base, tuned, *noise)]
    for key, record in _numbered(base.records):
        other, again = others.pop(key, None), [records.get(key) for records in repetitions]
        found = _paired(record, other, again, method)
        if not isinstance(found, str) and _is_mixed((record, other, *again), older):
            found = f"in one of the runs {FIRST_POSITION_LEFT_OUT}"
        if isinstance(found, str):
            unpaired.append(Unpaired(record.task, record.doc_id, found))
            continue
        pairs.append(found[0])
        for sequence, pair in zip(repeated, found[1:], strict=True):
            sequence.append(pair)
    unpaired += [Unpaired(record.task, record.doc_id, "not in the base run") for record in others.values()]
    return Paired(tuple(pairs), tuple(map(tuple, repeated)), tuple(unpaired))


def _is_mixed(records: Sequence[Record | None], older: Sequence[Collection[RecordKey]]) -> bool:
    """Whether the scores of some leave out the first token of the answer, and those of others do not."""
    return len({record.key in keys for record, keys in zip(records, older, strict=True) if record}) > 1


def _paired(
    base: Record, tuned: Record | None, again: Sequence[Record | None], method: str
) -> list[Pair] | str:
    """The base run's record with that of the other run and of each repetition, or why there is no pair."""
    known: list[Record] = []
    for name, record in (("base", base), ("other", tuned), *(("repeated", found) for found in again)):
        if record is None:
            return f"not in the {name} run"
        if record.status != "ok":
            return f"{record.status} in the {name} run: {record.reason}"
        if method not in record.scores:
            return f"no scores by method {method!r} in the {name} run"
        known.append(record)
    pieces = common_pieces(known, method)
    if pieces.problem is not None:
        return pieces.problem
    if pieces.coverage < MIN_COVERAGE:
        return f"the prompts have only {pieces.coverage:.0%} of their words in common"
    return [
        Pair(base, record, pieces.paired(number), pieces.coverage)
        for number, record in enumerate(known[1:], start=1)
    ]


def common_method(base: LoadedRun, tuned: LoadedRun, method: str | None) -> str:
    """The method whose scores are compared: the one asked for, or the first that both runs have.

    Raises:
        ArtifactError: Not both have it.
    """
    there = [scored_methods(run.records) for run in (base, tuned)]
    both = [name for name in there[0] if name in there[1]]
    if method is None and both:
        return DEFAULT_METHOD if DEFAULT_METHOD in both else both[0]
    if method is None or method not in both:
        asked = "no method" if method is None else f"no scores by method {method!r}"
        raise ArtifactError(
            f"{asked} in both runs; the one has {one_of(there[0])}, the other {one_of(there[1])}"
        )
    return method


def _numbered(records: Sequence[Record]) -> Iterator[tuple[tuple[str, str, int], Record]]:
    """Records by task and document; copies of a document are told apart by their order."""
    seen: Counter[tuple[str, str]] = Counter()
    for record in records:
        key = record.task, record.doc_hash
        yield (*key, seen[key]), record
        seen[key] += 1
