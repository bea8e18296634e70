"""Make a unit of the prompt absent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from gilot_plugin.attribution.types import Unit
from gilot_plugin.backends.protocol import Row


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
    """A way to take a unit away.

    Attributes:
        name: Value of the setting ``absence``.
        summary: One line for ``gilot methods``.
        without: ``(token_ids, unit, context) -> Row``, the prompt as fed without the unit.
        rescored_without: If given, the outcome is read from a second pass over this row, after the search
            over ``without``, as the published code does; so is the full prompt's outcome then.
        needs_positions: Whether the rows mask tokens or carry positions, which not every model takes.
    """

    name: str
    summary: str
    without: Callable[[Sequence[int], Unit, AbsenceContext], Row]
    rescored_without: Callable[[Sequence[int], Unit, AbsenceContext], Row] | None = None
    needs_positions: bool = False


def delete(token_ids: Sequence[int], unit: Unit, context: AbsenceContext) -> Row:
    """Remove the unit's tokens; later tokens close up."""
    left = (*token_ids[: unit.start_token], *token_ids[unit.end_token :])
    return Row(left or (context.empty_prompt_id,))


def mask(token_ids: Sequence[int], unit: Unit, context: AbsenceContext) -> Row:
    """Turn attention to the unit's tokens off; they stay, so the others keep their positions and windows.

    Where the unit ends the prompt, it is left out: what follows would be predicted from the masked token, and
    so still read it.
    """
    if unit.end_token == len(token_ids):
        return delete(token_ids, unit, context)
    return Row(tuple(token_ids), attended=_attended_without(unit, len(token_ids)))


def replace(token_ids: Sequence[int], unit: Unit, context: AbsenceContext) -> Row:
    """Put ``replace_with`` in the place of each of the unit's tokens."""
    if context.replace_with is None:
        raise ValueError("absence 'replace' needs replace_with")
    filler = (context.replace_with,) * (unit.end_token - unit.start_token)
    return Row((*token_ids[: unit.start_token], *filler, *token_ids[unit.end_token :]))


def _attended_without(unit: Unit, length: int) -> tuple[bool, ...]:
    return tuple(not unit.start_token <= index < unit.end_token for index in range(length))


_PUBLISHED_ID = 0


def _published_tokens(token_ids: Sequence[int], unit: Unit) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """The unit's tokens set to id 0, and which tokens are attended to."""
    attended = _attended_without(unit, len(token_ids))
    ids = tuple(token if seen else _PUBLISHED_ID for token, seen in zip(token_ids, attended, strict=True))
    return ids, attended


def published_search(token_ids: Sequence[int], unit: Unit, context: AbsenceContext) -> Row:
    """As the published code searches: id 0, attention off, positions as ``generate`` numbers them.

    ``generate`` of transformers counts the attended tokens and gives the others position 0; a masked last
    token is still where the next one is predicted from.
    """
    ids, attended = _published_tokens(token_ids, unit)
    counted = accumulate(attended)
    positions = tuple(count - 1 if seen else 0 for count, seen in zip(counted, attended, strict=True))
    return Row(ids, positions, attended)


def published_score(token_ids: Sequence[int], unit: Unit, context: AbsenceContext) -> Row:
    """As the published code reads probabilities: id 0, attention off, positions unmoved."""
    ids, attended = _published_tokens(token_ids, unit)
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
