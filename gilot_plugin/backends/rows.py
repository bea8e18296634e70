"""Prompts as fed to a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One prompt as fed to the model.

    Attributes:
        token_ids: The fed ids, at least one.
        positions: Position of each token; None for 0, 1, 2, ...
        attended: Whether the tokens after it attend to each token; None for all.
    """

    token_ids: tuple[int, ...]
    positions: tuple[int, ...] | None = None
    attended: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        if not self.token_ids:
            raise ValueError("a row needs at least one token")

    @property
    def next_position(self) -> int:
        """Position of the token that follows."""
        return len(self.token_ids) if self.positions is None else self.positions[-1] + 1

    def start(self, tokens: int) -> Row:
        """Its first tokens."""
        cut = slice(0, tokens)
        positions, attended = self.positions and self.positions[cut], self.attended and self.attended[cut]
        return Row(self.token_ids[cut], positions, attended)

    def begins_like(self, prompt: Row) -> int:
        """Number of its tokens that need not be read where the prompt was read but for its last token.

        They are the prompt's, at the same positions, and all later tokens see them. The last one is always
        read, for what follows is predicted from it.
        """
        most = min(len(prompt.token_ids), len(self.token_ids)) - 1
        if self.is_plain and prompt.is_plain:
            return min(most, common_beginning(self.token_ids, prompt.token_ids))
        return next((place for place in range(most) if not self._same(prompt, place)), most)

    @property
    def is_plain(self) -> bool:
        """Whether all tokens are attended to, at the positions 0, 1, 2, ..."""
        return self.positions is None and self.attended is None

    def _same(self, other: Row, place: int) -> bool:
        ours, theirs = (
            (
                row.token_ids[place],
                place if row.positions is None else row.positions[place],
                row.attended is None or row.attended[place],
            )
            for row in (self, other)
        )
        return ours == theirs and ours[2]

    def continued(self, continuation: Sequence[int]) -> Row:
        """The row with more tokens after it, all attended to."""
        more = len(continuation)
        return Row(
            (*self.token_ids, *continuation),
            None
            if self.positions is None
            else (*self.positions, *range(self.next_position, self.next_position + more)),
            None if self.attended is None else (*self.attended, *(True,) * more),
        )


def common_beginning(text: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens that both begin with."""
    low, high = 0, min(len(text), len(other))
    # Tuples are compared much faster than tokens one by one.
    while low < high:
        middle = (low + high + 1) // 2
        if text[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
