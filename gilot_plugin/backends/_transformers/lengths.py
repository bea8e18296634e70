"""Positions that a model turns into other rotations when a sequence grows long.

Some scalings of rotary embeddings (``longrope``, dynamic NTK) choose their frequencies by the largest
position of the call, and some of them remember earlier calls. A prompt that is read in parts then becomes
another prompt. What a model does is found out on its own modules, which is cheap at any length: they are
asked about a few positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves, tree_map

from gilot_plugin.errors import UnsupportedModelError

#: Longest sequence that is asked about where a model names no longest.
_FAR = 2**17


class PositionCall(NamedTuple):
    """A call of a module without parameters that was given the positions of a pass.

    Attributes:
        module: The module.
        call: Calls it with other positions, ``[tokens]``, all else being as it was.
        tokens: How many of them.
    """

    module: torch.nn.Module
    call: Callable[[torch.Tensor], Any]
    tokens: int


@dataclass(frozen=True, eq=False)
class Rotations:
    """How a model turns positions into what it multiplies queries and keys by.

    Attributes:
        calls: The modules that do it.
        steady: Longest sequence, in tokens, whose beginnings are read as sequences of their own would be;
            None where all are, 0 where none is.
        reason: Why longer ones are not, in words.
    """

    calls: Sequence[PositionCall] = ()
    steady: int | None = None
    reason: str | None = None

    def change_at(self, tokens: int) -> bool:
        """Whether sequences of so many tokens are read with other rotations than short ones."""
        return self.steady is not None and tokens > self.steady

    @contextmanager
    def forgetful(self) -> Iterator[None]:
        """Let the modules know of no earlier call; afterwards they know what they did before."""
        if self.steady is None:
            yield
            return
        with preserved([call.module for call in self.calls]):
            _forget(self.calls)
            yield


@contextmanager
def watching_positions(model: torch.nn.Module, tokens: int) -> Iterator[list[PositionCall]]:
    """Note the modules that are given positions while sequences of so many tokens are read.

    Args:
        model: The model.
        tokens: Length of a sequence whose positions are not given to the model.
    """
    found: dict[tuple[int, str], PositionCall] = {}
    calls: list[PositionCall] = []
    expected = torch.arange(tokens)

    def note(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = (args, kwargs)
        if any(_holds(leaf, expected) for leaf in tree_leaves(given)):
            others = [leaf for leaf in tree_leaves(given) if not isinstance(leaf, torch.Tensor)]
            key = (id(module), repr(others))
            if key not in found:
                found[key] = PositionCall(module, _with_positions(module, given, expected), tokens)
                calls.append(found[key])

    handles = [
        module.register_forward_pre_hook(note, with_kwargs=True) for module in without_parameters(model)
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def find_rotations(calls: Sequence[PositionCall], config: Any, max_positions: int | None) -> Rotations:
    """Find the length at which rotations change, by asking the modules.

    Args:
        calls: What :func:`watching_positions` noted.
        config: The model's configuration, whose integers are looked at one by one: the length is often one.
        max_positions: Longest sequence that the model takes.
    """
    farthest = max_positions or _FAR
    lengths = {2**power for power in range(20)}
    lengths |= {number + off for number in integers_of(config) for off in (-1, 0, 1)}
    changing: list[PositionCall] = []
    steady: int | None = None
    with preserved([call.module for call in calls]):
        for call in calls:
            tried = sorted({call.tokens, farthest, *(n for n in lengths if call.tokens <= n <= farthest)})
            last = _last_like_short(call, tried)
            if last is not None:
                changing.append(call)
                steady = last if steady is None else min(steady, last)
    reason = f"beyond {steady} tokens, the positions of all tokens depend on how many there are"
    return Rotations(changing, steady, None if steady is None else reason)


def longest_sequence(config: Any) -> int | None:
    """Longest sequence that a language model takes, in tokens; None where nothing limits it.

    Dynamic scaling of rotary embeddings is for sequences longer than those that the model was trained with.
    """
    named = (
        value
        for name in ("n_positions", "max_position_embeddings", "n_ctx", "max_seq_len")
        if isinstance(value := getattr(config, name, None), int) and value > 0
    )
    longest = next(named, None)
    rope = getattr(config, "rope_parameters", None) or {}
    if longest is not None and rope.get("rope_type") == "dynamic":
        return int(longest * max(1.0, rope.get("factor") or 1.0))
    return longest


def integers_of(config: Any) -> set[int]:
    """All positive integers of a configuration, those in its parts included."""
    leaves = tree_leaves(config.to_dict())
    return {
        int(leaf)
        for leaf in leaves
        if isinstance(leaf, (int, float)) and 1 < leaf < 2**31 and leaf == int(leaf)
    }


@contextmanager
def preserved(modules: Sequence[torch.nn.Module]) -> Iterator[None]:
    """Give modules back the attributes and buffers that they had before."""
    before = [(module, dict(vars(module)), _copies(module)) for module in modules]
    try:
        yield
    finally:
        with torch.no_grad():
            for module, attributes, buffers in before:
                vars(module).update({k: v for k, v in attributes.items() if not isinstance(v, dict)})
                for name, (buffer, values) in buffers.items():
                    # In place as it was made, for something may have noted where a buffer lies.
                    if not torch.equal(buffer, values):
                        buffer.copy_(values)
                    module._buffers[name] = buffer


def without_parameters(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Modules that compute with nothing that is learned, as those of rotary embeddings."""
    return [module for module in model.modules() if next(module.parameters(), None) is None]


def _copies(module: torch.nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    return {name: (buffer, buffer.clone()) for name, buffer in module._buffers.items() if buffer is not None}


def _holds(leaf: Any, expected: torch.Tensor) -> bool:
    """Whether a tensor is positions ``[rows, tokens]`` that count from 0."""
    return (
        isinstance(leaf, torch.Tensor)
        and not leaf.is_floating_point()
        and leaf.dim() > 0
        and leaf.shape[-1] == len(expected)
        and bool((leaf.reshape(-1, len(expected))[0].cpu() == expected).all())
    )


def _with_positions(
    module: torch.nn.Module, given: tuple[tuple[Any, ...], dict[str, Any]], expected: torch.Tensor
) -> Callable[[torch.Tensor], Any]:
    def call(positions: torch.Tensor) -> Any:
        def other(leaf: Any) -> Any:
            if not _holds(leaf, expected):
                return leaf
            return positions.to(leaf).expand(*leaf.shape[:-1], positions.shape[-1])

        args, kwargs = tree_map(other, given)
        with torch.no_grad():
            return module(*args, **kwargs)

    return call


def _forget(calls: Sequence[PositionCall]) -> None:
    """Let modules that remember the longest sequence begin anew: a short one is read."""
    for call in calls:
        call.call(torch.zeros(call.tokens, dtype=torch.long))


def _last_like_short(call: PositionCall, tried: Sequence[int]) -> int | None:
    """Longest sequence in which the first positions are rotated as in short ones; None where in all."""
    short = _rotation(call, tried[0])
    like = tried[0]
    for length in tried:
        if not _same(_rotation(call, length), short):
            break
        like = length
    else:
        return None
    unlike = length
    while unlike - like > 1:
        middle = (like + unlike) // 2
        if _same(_rotation(call, middle), short):
            like = middle
        else:
            unlike = middle
    return like


def _rotation(call: PositionCall, tokens: int) -> list[torch.Tensor]:
    """What the first few positions become in a sequence of so many tokens.

    Raises:
        UnsupportedModelError: The module does not say it position by position.
    """
    _forget([call])
    asked = torch.tensor([*range(call.tokens - 1), tokens - 1])
    found = [leaf for leaf in tree_leaves(call.call(asked)) if isinstance(leaf, torch.Tensor)]
    return [_but_last(leaf, call) for leaf in found]


def _but_last(leaf: torch.Tensor, call: PositionCall) -> torch.Tensor:
    """What was made of all positions but the last."""
    axes = [axis for axis, size in enumerate(leaf.shape) if size == call.tokens]
    if leaf.dim() and not axes:
        raise UnsupportedModelError(
            f"{type(call.module).__name__} does not tell what it makes of single positions"
        )
    # Vectors are last, and may be as long by chance.
    axis = next((axis for axis in reversed(axes) if axis < leaf.dim() - 1), axes[-1] if axes else None)
    return leaf if axis is None else leaf.narrow(axis, 0, call.tokens - 1)


def _same(ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> bool:
    return all(map(torch.equal, ours, theirs))
