"""What a model lets its tokens see, as it says itself.

Models that window or chunk their attention do so by a mask, which transformers makes from a function of two
places in a sequence. In a tree, a token's place is not its column, so the function is asked about the places
of the tree instead, and whatever shape the model's mask has, the tree has it too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from transformers.masking_utils import causal_mask_function

from gilot_plugin.backends.bounds import InBounds
from gilot_plugin.errors import UnsupportedModelError

#: Of numbers of a row, a head, a token and one that it may see, whether it does; arguments broadcast.
MaskFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

#: Attention implementations that apply the masks that models make. Kernels beside them look at no mask of
#: tokens and take the window from an argument of the call.
_MASKED_IMPLEMENTATIONS = frozenset({"eager", "sdpa", "flex_attention"})


def windows_by_argument(implementation: str | None) -> bool:
    """Whether an attention implementation is told of windows by the argument ``sliding_window`` alone."""
    return implementation is not None and implementation not in _MASKED_IMPLEMENTATIONS


#: What transformers makes of a model that lets its tokens see all before them.
_CAUSAL: object = causal_mask_function


class MaskRule(NamedTuple):
    """A mask of a model, before it is laid out.

    Attributes:
        function: As transformers composed it.
        by_element: Whether it takes single numbers only.
    """

    function: MaskFunction
    by_element: bool

    @property
    def is_causal(self) -> bool:
        """Whether tokens see all before them."""
        return self.function is _CAUSAL

    def allows(self, rows: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Which places may be seen from which.

        Args:
            rows: ``[rows]``, as the model numbers them.
            queries: ``[rows, new]``, places of tokens.
            keys: ``[rows or 1, n]``, places before them.

        Returns:
            ``[rows, new, n]``.

        Raises:
            UnsupportedModelError: It looks up something about a pass, which has other places than a tree.
        """
        shape = (*queries.shape, keys.shape[1])
        heads = torch.zeros_like(rows)
        parts = (rows[:, None, None], heads[:, None, None], queries[:, :, None], keys[:, None])
        # Composed functions index tensors by these, which need not have all axes.
        index = [part.expand(shape) for part in parts]
        try:
            if not self.by_element:
                with InBounds():
                    return self.function(*index)
            flat = [part.flatten() for part in index]
            found: torch.Tensor = torch.vmap(self.function)(*flat)
        except IndexError:
            raise UnsupportedModelError("its masks depend on more than places") from None
        return found.view(shape)

    def check(self, rows: torch.Tensor, queries: torch.Tensor) -> None:
        """Refuse masks that show what comes later, which a tree does not have.

        Args:
            rows: As for :meth:`allows`.
            queries: As for :meth:`allows`.

        Raises:
            UnsupportedModelError: It does.
        """
        if not self.is_causal and bool(self.allows(rows, queries[:, :1], queries[:, :1] + 1).any()):
            raise UnsupportedModelError("its attention looks ahead")
