"""The few tokens that a model is tried out with."""

from __future__ import annotations

from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.scoring.sessions import TokenTree

#: Tokens whose logits are in memory at once.
PROBE_TOKENS = 200

#: Longest sequence that is tried: beyond the reach of the usual short convolutions, 4 tokens.
_LONGEST = 13

#: Distance between explicit positions: not 1, so that all tokens move, whatever window they are seen in.
_STRIDE = 2


class Samples:
    """Sequences to try: a long prompt and a short one, and continuations of both.

    Attributes:
        long: The long prompt.
        short: The short one, padded to the long one's length in a batch.
        sequences: What the two become: the short one continued in two ways, and the long one.
    """

    #: Of the prompts ``(long, short)``, those that the three continuations start from, and of these
    #: continuations, those that the second step goes on from: none stays in its place.
    FIRST_SOURCE = (1, 0, 1)
    SECOND_SOURCE = (2, 0, 1)

    def __init__(self, vocab_size: int, max_positions: int | None) -> None:
        longest = max(min(_LONGEST, max_positions or _LONGEST), 6)
        # Spread over the vocabulary, for special tokens are at its ends.
        ids = [(2 * index + 1) * vocab_size // 64 for index in range(32)]
        self.long = tuple(ids[: longest - 3])
        self.short = tuple(ids[longest : longest + max(1, len(self.long) // 3)])
        self.first = [(ids[-1],), (ids[-2],), (ids[-3],)]
        self.second = [(ids[-4], ids[-5]), (ids[-6], ids[-7]), (ids[-8], ids[-9])]
        prompts = (self.long, self.short)
        started = [
            (*prompts[source], *run) for source, run in zip(self.FIRST_SOURCE, self.first, strict=True)
        ]
        self.sequences = [
            (*started[source], *run) for source, run in zip(self.SECOND_SOURCE, self.second, strict=True)
        ]

    def trees(self) -> tuple[list[TokenTree], dict[tuple[int, int], tuple[int, tuple[int, ...]]]]:
        """Trees for three rows, and the path to every node, -1 being the prompt, by row and node."""
        (a,), (b,), (c, d) = self.first[0], self.first[1], self.second[0]
        forked, single = TokenTree((a, b, c, d), (-1, -1, 1, 2)), TokenTree((c,), (-1,))
        paths = {-1: (), 0: (a,), 1: (b,), 2: (b, c), 3: (b, c, d)}
        places = {(row, node): (row, path) for row in (0, 2) for node, path in paths.items()}
        return [forked, single, forked], places | {(1, -1): (1, ()), (1, 0): (1, (c,))}

    def masked_rows(self, max_positions: int | None) -> tuple[Row, Row, Row, Row]:
        """The prompt with masked tokens, with other ids in their place, with wide positions, and as it is."""
        longest = len(self.long) if max_positions is None else max_positions // _STRIDE
        prompt = self.long[:longest]
        hidden = {1, len(prompt) - 2}
        attended = tuple(index not in hidden for index in range(len(prompt)))
        other = tuple(self.short[0] if index in hidden else token for index, token in enumerate(prompt))
        wide = tuple(index * _STRIDE for index in range(len(prompt)))
        return Row(prompt, None, attended), Row(other, None, attended), Row(prompt, wide), Row(prompt)
