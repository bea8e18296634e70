"""Whether two readings of a model are the same."""

from __future__ import annotations

import torch

#: Round-off between two readings of one sequence, in spreads of its logits: how far those of one token lie
#: apart typically. A reading that sees padding or another sequence's past is off by a good part of a spread.
_ROUND_OFF = {torch.float16: 0.02, torch.bfloat16: 0.1}
_ROUND_OFF_OF_SINGLE_PRECISION = 1e-4

#: How much farther single tokens may lie apart.
_OUTLIER = 4.0


class Closeness:
    """Whether two readings are the same but for the round-off of a floating type.

    Medians make it a comparison of the readings as a whole: some models fix a few logits at huge values, and
    some at minus infinity.
    """

    def __init__(self, dtype: torch.dtype, share: float = 1.0) -> None:
        if dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest":
            dtype = torch.float16  # whose precision TF32 has
        self._round_off = share * _ROUND_OFF.get(dtype, _ROUND_OFF_OF_SINGLE_PRECISION)
        self._unit = share * 2 * torch.finfo(dtype).eps

    def __call__(self, found: torch.Tensor, expected: torch.Tensor) -> bool:
        """Compare logits ``[n, vocab]`` token by token; a few may be off a little more than typical."""
        if found.shape != expected.shape:
            return False
        shares = list(map(self._share, found, expected))
        return sum(shares) <= len(shares) and max(shares) <= _OUTLIER

    def _share(self, found: torch.Tensor, expected: torch.Tensor) -> float:
        """How far two predictions of a token lie apart, as a share of what is allowed."""
        finite = expected.isfinite()
        if not finite.any() or not torch.equal(finite, found.isfinite()):
            return float("inf")
        found, expected = found[finite], expected[finite]
        spread = (expected - expected.median()).abs().median()
        # Logits that are large beside their spread are rounded as such.
        allowed = self._round_off * spread + self._unit * expected.abs().median()
        apart = (found - expected).abs().median()
        return 0.0 if apart == 0.0 else float(apart / allowed)


def describe(error: Exception) -> str:
    """What a model said, in one line."""
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"
