"""Make units of the prompt absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

from gilot_plugin.attribution.types import Absent
from gilot_plugin.backends.rows import Row


@dataclass(frozen=True, slots=True)
class AbsenceContext:
    """What an absence operator may need beside the prompt.

    Attributes:
        replace_with: Token id that ``replace`` puts in place, None if none was given.
        empty_prompt_id: Token that the model is fed when nothing is left (beginning or end of sequence, as
            lm-eval does for empty contexts).
    """

    replace_with: int | None
    empty_prompt_id: int


@dataclass(frozen=True, slots=True)
class AbsenceOperator:
    """A way to take units away, one or several at the same time.

    Attributes:
        name: Value of the setting ``absence``.
        summary: One line for ``gilot methods``.
        without: ``(token_ids, absent, context) -> Row``, the prompt as fed without the units, which are at
            least one, do not overlap and come in any order.
        rescored_without: If given, the outcome is read from a second pass over this row, after the search
            over ``without``, as the published code does; so is the full prompt's outcome then.
        needs_positions: Whether the rows mask tokens or carry positions, which not every model takes.
    """

    name: str
    summary: str
    without: Callable[[Sequence[int], Absent, AbsenceContext], Row]
    rescored_without: Callable[[Sequence[int], Absent, AbsenceContext], Row] | None = None
    needs_positions: bool = False


def delete(token_ids: Sequence[int], absent: Absent, context: AbsenceContext) -> Row:
    """Remove the units' tokens; later tokens close up."""
    seen = _attended_without(absent, len(token_ids))
    return Row(tuple(compress(token_ids, seen)) or (context.empty_prompt_id,))


def mask(token_ids: Sequence[int], absent: Absent, context: AbsenceContext) -> Row:
    """Turn attention to the units' tokens off; they stay, so the others keep their positions and windows.

    Units that end the prompt are left out: what follows would be predicted from a masked token, and so still
    read it.
    """
    seen = _attended_without(absent, len(token_ids))
    length = max((place + 1 for place, kept in enumerate(seen) if kept), default=0)
    if all(seen[:length]):
        return delete(token_ids, absent, context)
    return Row(tuple(token_ids[:length]), attended=seen[:length])


def replace(token_ids: Sequence[int], absent: Absent, context: AbsenceContext) -> Row:
    """Put ``replace_with`` in the place of each of the units' tokens."""
    if context.replace_with is None:
        raise ValueError("absence 'replace' needs replace_with")
    return Row(_filled(token_ids, _attended_without(absent, len(token_ids)), context.replace_with))


def _attended_without(absent: Absent, length: int) -> tuple[bool, ...]:
    gone = {place for unit in absent for place in range(unit.start_token, unit.end_token)}
    return tuple(place not in gone for place in range(length))


def _filled(token_ids: Sequence[int], seen: Sequence[bool], filler: int) -> tuple[int, ...]:
    return tuple(token if kept else filler for token, kept in zip(token_ids, seen, strict=True))


_PUBLISHED_ID = 0


def _published_tokens(token_ids: Sequence[int], absent: Absent) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The units' tokens set to id 0, and which tokens are attended to."""
    attended = _attended_without(absent, len(token_ids))
    return _filled(token_ids, attended, _PUBLISHED_ID), attended


def published_search(token_ids: Sequence[int], absent: Absent, context: AbsenceContext) -> Row:
    """As the published code searches: id 0, attention off, positions as ``generate`` numbers them.

    ``generate`` of transformers counts the attended tokens and gives the others position 0; a masked last
    token is still where the next one is predicted from.
    """
    ids, attended = _published_tokens(token_ids, absent)
    counted = accumulate(attended)
    positions = tuple(count - 1 if seen else 0 for count, seen in zip(counted, attended, strict=True))
    return Row(ids, positions, attended)


def published_score(token_ids: Sequence[int], absent: Absent, context: AbsenceContext) -> Row:
    """As the published code reads probabilities: id 0, attention off, positions unmoved."""
    ids, attended = _published_tokens(token_ids, absent)
    return Row(ids, attended=attended)


BUILTIN_ABSENCES = (
    AbsenceOperator("delete", "remove the unit's tokens; later tokens close up", delete),
    AbsenceOperator(
        "mask", "turn attention to the unit's tokens off; other positions stay", mask, needs_positions=True
    ),
    AbsenceOperator("replace", "put the token replace_with in place of each of the unit's tokens", replace),
    AbsenceOperator(
        "published",
        "as the published code: token id 0 with attention off, positions closed up in the search only",
        published_search,
        rescored_without=published_score,
        needs_positions=True,
    ),
)
