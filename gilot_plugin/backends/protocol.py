"""What the method asks of a model runtime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

    from gilot_plugin.backends.cache_use import CacheUse
    from gilot_plugin.backends.predictions import Predictions


@dataclass(frozen=True, slots=True)
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


class KnownPrompt(Protocol):
    """A prompt that the model may have read, for rows that begin like it."""

    @property
    def row(self) -> Row | None:
        """The prompt; None if it was not read."""
        ...


class Batch(NamedTuple):
    """Prompts that go through the model together.

    Attributes:
        rows: The prompts as fed.
        known: For each, the prompt that it begins like; empty where they have none.
    """

    rows: Sequence[Row]
    known: Sequence[KnownPrompt] = ()


class Load(NamedTuple):
    """What the model reads of each row of a batch.

    Attributes:
        known: Tokens of the prompt that rows begin like, where they are read once for all.
        own: Tokens of the row that are not read with that prompt.
        room: Tokens that are fed after the row.
        together: Of those, as many as go into one pass.
        beams: Sequences of the row that are continued at once.
    """

    known: int
    own: int
    room: int
    together: int
    beams: int


class Need(NamedTuple):
    """Memory at the peak, in bytes.

    Attributes:
        fixed: For a batch of whatever size.
        row: More for each row.
        capped: Pairs of what is taken for each row and what is never exceeded.
        least: Before anything, to find out what the model can do.
    """

    fixed: int
    row: int
    capped: tuple[tuple[int, int], ...] = ()
    least: int = 0

    def of(self, rows: int) -> int:
        """For a batch of so many rows."""
        needed = self.fixed + rows * self.row + sum(min(rows * row, most) for row, most in self.capped)
        return max(self.least, needed)


class TokenTree(NamedTuple):
    """Continuations of a prompt whose common beginnings are one.

    Attributes:
        tokens: Token of each node; nodes come in the order of their depths.
        parents: The node above each; -1 is the prompt.
    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]


class Level(NamedTuple):
    """Nodes of the same depth.

    Attributes:
        rows: ``[places]``, the row of each.
        nodes: ``[places]``, the node of the row's tree; -1 is the prompt.
        predictions: What comes after each.
    """

    rows: torch.Tensor
    nodes: torch.Tensor
    predictions: Predictions


class DecodingSession(Protocol):
    """A batch of prompts that are continued, either by several sequences each, step by step, or by trees."""

    @property
    def prompt(self) -> Predictions:
        """What comes after each prompt, ``rows`` places."""
        ...

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> Predictions:
        """Feed one token after each of given sequences, which may be repeated, dropped or reordered.

        Args:
            parents: ``[rows, n]``, for each new sequence the one of its row that it continues. Before the
                first call, each row has the one sequence 0: its prompt.
            tokens: ``[rows, n]``, the ids to feed.

        Returns:
            What comes after each, ``rows * n`` places.
        """
        ...

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some of the rows alone; the memory of the others is given back.

        Args:
            rows: ``[n]``, at least one, each once: they are the session's rows 0, 1, ... from now on.
        """
        ...

    def read_trees(self, trees: Sequence[TokenTree]) -> Iterator[Level]:
        """Feed a tree of tokens after each prompt.

        Where prompts share nothing (:attr:`Backend.shares_prompts`), all rows have the same tree and nothing
        else is asked of the session.

        Args:
            trees: One a row.

        Yields:
            The prompts, then the nodes of depth 1, 2, ... that there are.
        """
        ...


class Backend(Protocol):
    """A causal language model that gives full next-token distributions.

    Attributes:
        device: Where the logits are.
        eos_token_ids: Ids that end a sequence; may be empty.
        vocab_size: Length of a row of logits.
        max_positions: Longest sequence that the model takes, None where nothing limits it.
    """

    device: torch.device
    eos_token_ids: tuple[int, ...]
    vocab_size: int
    max_positions: int | None

    @property
    def fill_tokens(self) -> int:
        """Tokens of a pass below which the device is not filled."""
        ...

    @property
    def pass_tokens(self) -> int:
        """Tokens of a pass beyond which only memory grows."""
        ...

    @property
    def model_tokens(self) -> int:
        """Token positions fed so far, padding excluded."""
        ...

    @property
    def half_precision(self) -> bool:
        """Whether anything is computed in fewer bits than those of single precision."""
        ...

    def recomputes_at(self, tokens: int) -> str | None:
        """Why sequences of so many tokens are read whole at every step; None where a cache is kept."""
        ...

    @property
    def cache_use(self) -> CacheUse:
        """Whether caches and prefix trees are used, why not, and what it has cost so far."""
        ...

    @property
    def refuses_positions(self) -> str | None:
        """Why rows may not mask tokens and carry explicit positions, in words; None if they may."""
        ...

    @property
    def shares_prompts(self) -> bool:
        """Whether what rows have in common with a known prompt is read once.

        Sessions then read a tree of its own after each row, also after they advanced.
        """
        ...

    def read_prompt(self, row: Row) -> KnownPrompt:
        """Read a prompt whose beginning many rows share."""
        ...

    def prefill(self, batch: Batch, room: int) -> DecodingSession:
        """Begin to read a batch of prompts.

        Args:
            batch: The prompts.
            room: Most tokens that will be fed after each of them.
        """
        ...

    def embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the given ids, ``[n, dim]``, float32."""
        ...

    @property
    def mean_embedding(self) -> torch.Tensor:
        """Mean of the input embeddings over the vocabulary, ``[dim]``, float32; computed once."""
        ...

    def output_embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Output embeddings of the given ids, from which their logits come, ``[n, dim]``, float32.

        Raises:
            UnsupportedModelError: The model has none, or they cannot be read.
        """
        ...

    def memory(self, load: Load) -> Need:
        """Memory that a batch of rows takes at its peak, beside the model."""
        ...

    def free_memory(self) -> int:
        """Memory that may be used for rows, in bytes."""
        ...
