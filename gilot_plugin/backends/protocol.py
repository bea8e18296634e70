"""What the method asks of a model runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


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


class DecodingSession(Protocol):
    """A batch of prompts that the model has read, to be continued by several sequences each."""

    #: Logits of the token after each prompt, ``[rows, vocab]``, on the model's device.
    prompt_logits: torch.Tensor

    def advance(self, parents: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Feed tokens after given sequences, which may be repeated, dropped or reordered.

        Args:
            parents: ``[rows, n]``, for each new sequence the one of its row that it continues. Before the
                first call, each row has the one sequence 0: its prompt.
            tokens: ``[rows, n, length]``, the ids to feed.

        Returns:
            Logits after each of the tokens, ``[rows, n, length, vocab]``.
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
    def model_tokens(self) -> int:
        """Token positions fed so far, padding excluded."""
        ...

    @property
    def recomputes(self) -> str | None:
        """Why every sequence is read whole at every step, in words; None where a cache is kept."""
        ...

    @property
    def takes_positions(self) -> bool:
        """Whether rows may mask tokens and carry explicit positions."""
        ...

    @property
    def refuses_positions(self) -> str | None:
        """Why they may not, in words; None if they may."""
        ...

    def prefill(self, rows: Sequence[Row]) -> DecodingSession:
        """Read a batch of prompts."""
        ...

    def continuation_logits(
        self, rows: Sequence[Row], continuations: Sequence[Sequence[int]]
    ) -> list[torch.Tensor]:
        """Score given continuations in one pass.

        Args:
            rows: The prompts.
            continuations: One token sequence a row; may be empty.

        Returns:
            For each row, logits ``[len(continuation) + 1, vocab]``: entry ``j`` is the distribution of the
            token after the prompt and the first ``j`` continuation tokens.
        """
        ...

    def embeddings(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the given ids, ``[n, dim]``, float32."""
        ...

    def row_bytes(self, length: int, beams: int) -> int:
        """Memory that one row of ``length`` tokens takes at its peak with ``beams`` beams, in bytes."""
        ...

    def free_memory(self) -> int:
        """Memory that may be used for rows, in bytes."""
        ...
