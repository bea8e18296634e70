"""What a model runtime must be able to do: rows of token ids in, outcomes at positions of the answer out.

How rows are read (prefix trees, packing, chunks, budgets, retries where memory runs out) is the runtime's own
business. Nothing here asks for logits, caches or hidden states, so a runtime that tells the likeliest tokens
alone fits as well; what it cannot do, its :class:`Limits` say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gilot_plugin.backends.wanted import BeamSearch, FixedHypotheses, Hypotheses, TokenIds, Want

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from gilot_plugin.backends.cache_use import CacheUse
    from gilot_plugin.backends.rows import Row


@dataclass(frozen=True)
class Limits:
    """What a runtime can do.

    Attributes:
        vocab_size: Number of token ids.
        eos_token_ids: Ids that end a sequence; may be empty.
        max_positions: Longest sequence that the model takes; None where nothing limits it.
        nucleus_size: Most tokens of a distribution that it tells of; None for all of them.
        whole_vocabulary: Whether reductions cover the whole vocabulary. Where not, they are of the tokens
            that it tells of, with all others as one more outcome, and have to be named so.
        half_precision: Whether anything is computed in fewer bits than those of single precision.
        fill_tokens: Tokens of a pass below which the device is not filled, so that prompts which have fewer
            gain from being asked for together.
    """

    vocab_size: int
    eos_token_ids: tuple[int, ...] = ()
    max_positions: int | None = None
    nucleus_size: int | None = None
    whole_vocabulary: bool = True
    half_precision: bool = False
    fill_tokens: int = 1


class EmbeddingTable(Protocol):
    """Vectors of tokens: from the model in memory, from an adapter, or from a checkpoint's files.

    Attributes:
        device: Where vectors are given out, and so where costs between them are computed.
    """

    device: torch.device

    def input(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of the ids ``[n]``, ``[n, dim]``, float32, without gradient."""
        ...

    @property
    def mean(self) -> torch.Tensor:
        """Mean of the input embeddings over the vocabulary, ``[dim]``, float32; computed once."""
        ...

    def output(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Output embeddings of the ids ``[n]``, from which their logits come, ``[n, dim]``, float32.

        Raises:
            UnsupportedModelError: The model has none, or they cannot be read.
        """
        ...


class Reference(Protocol):
    """The full prompt's outcomes, kept where they were computed; runtimes know their own ones.

    What is told here is on the host, copied when it is first asked for.
    """

    @property
    def nuclei(self) -> Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """For each position the token ids of its nucleus, ascending, and their probabilities, ``[m]`` each.

        Probabilities are as they are, not renormalised: what they lack of 1 is the tail's mass.
        """
        ...

    @property
    def token_logprobs(self) -> NDArray[np.float64]:
        """As :attr:`Outcomes.token_logprobs`, ``[sequences, longest]``."""
        ...

    @property
    def token_logodds(self) -> NDArray[np.float64] | None:
        """As :attr:`Outcomes.token_logodds`, ``[sequences, longest]``."""
        ...

    @property
    def hypotheses(self) -> Hypotheses | None:
        """What was searched after it; None where the hypotheses were given."""
        ...

    @property
    def entropy(self) -> float:
        """Entropy of its distributions, in nats, averaged over positions.

        Without the whole vocabulary, that of the tokens told of with the tail as one outcome, a lower bound.
        """
        ...


@dataclass(frozen=True, eq=False)
class Query:
    """Rows of one prompt that are compared with the full prompt.

    Attributes:
        full: The full prompt, which is read first, or what is known of it from an earlier query with the same
            sequences, and with the same hypotheses where distributions are wanted.
        rows: The prompt without units, one row for each coalition.
        after: The hypotheses.
        sequences: Continuations whose tokens' log-probabilities are wanted, whatever the hypotheses; an empty
            one is certain.
        want: What is wanted of the distributions.
        rescored: Where the hypotheses that were searched after the full prompt and the rows are to be scored
            after others, these others, the full prompt's first; empty for the same ones.
    """

    full: Row | Reference
    rows: Sequence[Row]
    after: FixedHypotheses | BeamSearch
    sequences: tuple[TokenIds, ...] = ()
    want: Want = field(default_factory=Want)
    rescored: Sequence[Row] = ()


class AddedTokens(NamedTuple):
    """What nuclei of rows add to those of the full prompt, and how likely all of that is.

    Log-probabilities are minus infinity where the runtime was not told them: their mass belongs to the tail.

    Attributes:
        token_ids: Ascending, ``[rows, positions, w]``; 0 beyond the size.
        sizes: ``[rows, positions]``.
        of_reference: Log-probability of the added tokens after the full prompt, ``[rows, positions, w]``.
        of_rows: The same after the row.
        shared: Log-probability after the row of the tokens of :attr:`Reference.nuclei`, ``[rows, positions,
            m]``, in their order; undefined beyond the size of that nucleus.
    """

    token_ids: NDArray[np.int64]
    sizes: NDArray[np.int64]
    of_reference: NDArray[np.floating[Any]]
    of_rows: NDArray[np.floating[Any]]
    shared: NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What is left of the distributions of some rows, on the host.

    The mass of a row's tail at a position is 1 less that of its tokens among ``added`` and ``shared``.

    Attributes:
        reductions: ``[rows, positions]`` for each one wanted, by its name.
        token_logprobs: Log-probability of each token of the sequences given what is before it, in nats,
            ``[rows, sequences, longest]``; 0 beyond a sequence's end.
        added: The nuclei; None if none were wanted.
        token_logodds: Log-odds of the same tokens against all others together, in nats, from a sum over those
            others where they are told of: a probability near 1 says too little of what it lacks. None if not
            wanted.
    """

    reductions: Mapping[str, NDArray[np.float64]]
    token_logprobs: NDArray[np.float64]
    added: AddedTokens | None = None
    token_logodds: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Scored:
    """Some neighbouring rows of a query, as soon as the model has read them.

    Attributes:
        query: Which query, by its place.
        rows: Which of its rows; none if the full prompt alone was read.
        reference: The full prompt's outcomes, to be given with later queries.
        outcomes: Waits for what is left of the rows' distributions, which may still be on its way to the
            host.
        model_tokens: Token positions that the model read for them, padding excluded.
        seconds: Spent on them, of what was read along with others a share.
        batch_size: Rows that were read together, those of other queries included.
        out_of_memory: How often memory ran out meanwhile.
    """

    query: int
    rows: range
    reference: Reference
    outcomes: Callable[[], Outcomes]
    model_tokens: int = 0
    seconds: float = 0.0
    batch_size: int = 1
    out_of_memory: int = 0


class Room(NamedTuple):
    """How much may be read together; no number depends on it beyond round-off.

    Attributes:
        batch_size: Rows; None for as many as the memory allows and as gain anything.
        memory: Bytes beside the model; None for what may be used.
        reserved: Bytes that the caller takes meanwhile on the device of the model.
    """

    batch_size: int | None = None
    memory: int | None = None
    reserved: int = 0


class ReadTokens(NamedTuple):
    """About how many tokens a runtime reads of a row and what comes after it.

    Attributes:
        common: Those that it reads once for all rows of a query.
        own: Those of the row itself, and what is read after it.
        together: Of those, as many as go into one pass.
    """

    common: int
    own: int
    together: int


class Scorer(Protocol):
    """A causal language model that says what it would say."""

    @property
    def limits(self) -> Limits:
        """What it can do."""
        ...

    @property
    def embeddings(self) -> EmbeddingTable:
        """Vectors of its tokens."""
        ...

    @property
    def model_tokens(self) -> int:
        """Token positions read so far, padding excluded."""
        ...

    @property
    def refuses_positions(self) -> str | None:
        """Why rows may not mask tokens and carry explicit positions, in words; None if they may.

        The answer may take a few tokens to find out.
        """
        ...

    @property
    def cache_use(self) -> CacheUse | None:
        """Whether what was read once is used again, why not, and what it has cost; None if it cannot tell."""
        ...

    def recomputes_at(self, tokens: int) -> str | None:
        """Why sequences of so many tokens are read whole at every step, in words; None if they are not."""
        ...

    def free_memory(self) -> int:
        """Memory beside the model that may be used where the embeddings are, in bytes."""
        ...

    def score(self, queries: Sequence[Query], room: Room) -> Iterator[Scored]:
        """Read the rows of several prompts, together where that is of use.

        Args:
            queries: What is wanted. Those that gain nothing from each other are read one after the other.
            room: How much may be read together.

        Yields:
            For each query its rows, from the first to the last, some at a time; queries in their order.

        Raises:
            NonFiniteLogitsError: The model returned NaN.
            BudgetError: A row does not fit the memory.
            torch.OutOfMemoryError: A single row does not fit the device.
            UnsupportedModelError: A row asks for what the limits refuse.
        """
        ...

    def search(
        self, rows: Sequence[Row], search: BeamSearch, room: Room, beside: Row | None = None
    ) -> Iterator[Mapping[Row, Hypotheses]]:
        """Search hypotheses after each row; distributions along them are not asked for.

        Args:
            rows: The prompts.
            search: What is searched; its depths do not matter.
            room: How much may be read together.
            beside: The full prompt, if rows of it are going to be asked for as long as this object lives.

        Yields:
            Some of the rows at a time, in no certain order; equal ones once.

        Raises:
            As :meth:`score`.
        """
        ...

    def reads(self, query: Query, row: Row) -> ReadTokens:
        """About what is read of a row of a query; nothing is read. The row may be any, not only one of it."""
        ...
