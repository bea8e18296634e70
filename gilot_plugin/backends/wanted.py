"""What may be asked of the distributions after a row: over which hypotheses, and what of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

#: Tokens that come after a prompt.
TokenIds = tuple[int, ...]


class Continuation(NamedTuple):
    """A text that the model may say after the prompt.

    Attributes:
        token_ids: Its tokens, with the end-of-sequence token if it ends.
        ended: Whether it ends with one.
    """

    token_ids: TokenIds
    ended: bool


@dataclass(frozen=True)
class FixedHypotheses:
    """Hypotheses that are the same after each row.

    The distribution after ``depth`` tokens is the mixture P(v | x) = sum_k w_k p(v | x, y_k) / sum_k w_k over
    the different beginnings y_k of that many tokens, w_k their probabilities after the row; a hypothesis that
    has ended by then has all its mass on its last token. Of one hypothesis (the answer), that is what the
    model says after ``depth`` of its tokens. What several begin with is to be read once.

    Attributes:
        hypotheses: Different continuations; those that have not ended are as long as the largest depth at
            least. None where sequences are all that is asked for.
        depths: Numbers of tokens after which distributions are wanted: the positions of the outcome.
    """

    hypotheses: tuple[Continuation, ...] = ()
    depths: tuple[int, ...] = ()


@dataclass(frozen=True)
class BeamSearch:
    """Hypotheses that are searched after each row.

    As transformers' ``generate(num_beams=K)`` does it (version 5, ``early_stopping=False``,
    ``length_penalty=1``); a hypothesis that cannot exist has probability 0.

    Attributes:
        beams: K, at least 1; with 1, the likeliest token each time.
        tokens: J, most tokens of a hypothesis.
        depths: Numbers of tokens after which distributions are wanted, mixed as :class:`FixedHypotheses` are.
        published: Whether hypotheses are filled up and weighted as the published code does: ended ones with
            the end-of-sequence token to the length of the longest, whose probability counts, while tokens of
            id 0 count as certain.
    """

    beams: int
    tokens: int
    depths: tuple[int, ...] = ()
    published: bool = False


class Hypotheses(NamedTuple):
    """What was found after a row.

    Attributes:
        continuations: Different ones, likeliest per token first.
        logprobs: Log-probability of each, in nats.
    """

    continuations: tuple[Continuation, ...]
    logprobs: tuple[float, ...]


class Reduction(Protocol):
    """A function of whole distributions, computed where they are; each position is by itself."""

    @property
    def name(self) -> str:
        """Key among :attr:`Outcomes.reductions`."""
        ...

    @property
    def compute(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """From log-probabilities of the full prompt and of rows, the numbers.

        The first are ``[positions, outcomes]``, the others ``[rows, positions, outcomes]``, float64 (float32
        on devices without it), minus infinity for what cannot be. Numbers are ``[rows, positions]``. A call
        may have only some of the rows and positions.
        """
        ...


class Nucleus(NamedTuple):
    """How much of a distribution is told of: the smallest set of tokens with so much mass.

    Attributes:
        top_p: Cumulative mass; the token that makes it reach that belongs to the set.
        top_k: Tokens at most.
    """

    top_p: float
    top_k: int


@dataclass(frozen=True)
class Want:
    """What is wanted of each row, beside the log-probabilities of sequences.

    Attributes:
        nucleus: The tokens of distributions to be told of; None for none.
        reductions: Numbers that compare each row's distributions with the full prompt's.
        logodds: Whether log-odds of the sequences' tokens are wanted, too.
    """

    nucleus: Nucleus | None = None
    reductions: tuple[Reduction, ...] = ()
    logodds: bool = False
