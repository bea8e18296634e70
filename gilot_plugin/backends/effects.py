"""Arguments of a model that are found by what they do, where no name or annotation tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from gilot_plugin.backends.bounds import InBounds
from gilot_plugin.backends.closeness import Closeness
from gilot_plugin.backends.inputs import USUAL, Inputs, collects_others, parameters, returned_cache

#: Reads ``[rows, n]`` ids, with arguments by name; the output and what it says of tokens, ``[rows, n, dim]``.
Call = Callable[..., tuple[Mapping[str, Any], torch.Tensor]]

#: What is looked for, in this order: whether there are caches decides whether one is filled.
EVERY_INPUT = ("use_cache", "keep", "mask", "positions", "cache")


def found_by_effect(
    inputs: Inputs,
    forward: Callable[..., Any],
    call: Call,
    ids: torch.Tensor,
    config: Any,
    close: Closeness,
    wanted: Sequence[str] = EVERY_INPUT,
) -> Inputs:
    """Look for the inputs that are not known yet among the arguments that nothing is known of.

    Args:
        inputs: What is known.
        forward: Whose arguments they are.
        call: Calls it.
        ids: At least three tokens, all different, ``[1, n]``.
        config: What caches are made for.
        close: Whether two readings are the same.
        wanted: What is looked for.

    Returns:
        The inputs with those that were found.

    Raises:
        torch.OutOfMemoryError: There is no memory even for a few tokens.
    """
    missing = [what for what in wanted if what not in inputs]
    if not missing:
        return inputs
    effects = _Effects(call, ids, config, close, inputs)
    for what in missing:
        effects.inputs = inputs
        has_effect = getattr(effects, what)
        known = inputs.names.values()
        unknown = [name for name in parameters(forward) if name not in known]
        # It may be handed on unnamed, or not be looked at.
        unknown += [USUAL[what]] if what in USUAL and collects_others(forward) else []
        found = next((name for name in unknown if _shows(has_effect, name)), None)
        inputs = inputs if found is None else inputs.calling(what, found)
    return inputs


class _Effects:
    """What each input does, with the method of its name.

    Attributes:
        inputs: What is known.
    """

    def __init__(self, call: Call, ids: torch.Tensor, config: Any, close: Closeness, inputs: Inputs) -> None:
        self._call, self._config, self._close, self._ids = call, config, close, ids
        self.inputs = inputs
        self._plain = self._read(inputs.given(use_cache=False))[0]

    def use_cache(self, name: str) -> bool:
        """A cache comes back, or none."""
        kept, left = (self._call(self._ids, **{name: value})[0] for value in (True, False))
        return returned_cache(kept) is not None and returned_cache(left) is None

    def keep(self, name: str) -> bool:
        """The numbers of the last token are left."""
        return self._close(self._read({name: 1})[0], self._plain[-1:])

    def mask(self, name: str) -> bool:
        """A token is hidden from those after it: whichever it is, they are read alike."""
        ids = self._ids.repeat(2, 1)
        ids[1, 1] = ids[0, 0]
        attended = torch.ones_like(ids)
        attended[:, 1] = 0
        one, other = self._read({name: attended}, ids)[:, 2:]
        return self._close(one, other) and not self._close(one, self._plain[2:])

    def positions(self, name: str) -> bool:
        """Tokens change their places, in one row of two."""
        ids = self._ids.repeat(2, 1)
        places = torch.arange(ids.shape[1], device=ids.device)
        straight, turned = self._read({name: torch.stack((places, places.flip(0)))}, ids)
        return self._close(straight, self._plain) and not self._close(turned, self._plain)

    def cache(self, name: str) -> bool:
        """A cache is filled."""
        cache = DynamicCache(config=self._config)
        self._read({**self.inputs.given(use_cache=True), name: cache})
        return cache.get_seq_length() == self._ids.shape[1]

    def _read(self, given: Mapping[str, Any], ids: torch.Tensor | None = None) -> torch.Tensor:
        return self._call(self._ids if ids is None else ids, **given)[1]


def _shows(has_effect: Callable[[str], bool], name: str) -> bool:
    """Whether an argument has an effect; one that is no such input may raise whatever it likes."""
    try:
        with InBounds():
            return has_effect(name)
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return False
