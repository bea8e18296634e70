"""What scoring asks of a runtime that gives logits: prompts that are read and continued."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

    from gilot_plugin.backends.rows import Row
    from gilot_plugin.backends.scorer import Limits
    from gilot_plugin.backends.scoring.predictions import Predictions


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

        Without :attr:`SessionRuntime.reads_trees`, all rows have the same tree and nothing else is asked of
        the session.

        Args:
            trees: One a row.

        Yields:
            The prompts, then the nodes of depth 1, 2, ... that there are.
        """
        ...


class SessionRuntime(ABC):
    """What scoring needs of a runtime.

    Attributes:
        limits: What it can do.
        device: Where the logits are.
    """

    limits: Limits
    device: torch.device

    @property
    @abstractmethod
    def model_tokens(self) -> int:
        """Token positions fed so far, padding excluded."""

    @property
    @abstractmethod
    def pass_tokens(self) -> int:
        """Tokens of a pass beyond which only memory grows."""

    @property
    @abstractmethod
    def reads_trees(self) -> bool:
        """Whether sessions read a tree of its own after each row, also after they advanced.

        What rows have in common with the prompt that they lie beside is read once then.
        """

    @abstractmethod
    def prefill(self, rows: Sequence[Row], room: int, beside: Sequence[Row | None]) -> DecodingSession:
        """Begin to read a batch of prompts.

        Args:
            rows: The prompts.
            room: Most tokens that will be fed after each of them.
            beside: For each, the full prompt, which other rows will begin like for as long as that object
                lives; None where there will be no others.
        """

    @abstractmethod
    def memory(self, load: Load) -> Need:
        """Memory that a batch of rows takes at its peak, beside the model."""

    @abstractmethod
    def free_memory(self) -> int:
        """Memory that may be used for rows, in bytes."""
