"""An accelerator for machines that have none: its tensors' arithmetic is done by the CPU.

An operation that mixes devices raises, as CUDA's would. Transfers, and results that the host waits for, are
counted. There are no streams and no asynchronous copies: the device finds what is in the wrong place and
counts what moves; it knows nothing of speed.

    with pretend_device.visiting() as traffic:
        found = computation(pretend_device.moved(tensor))
    assert traffic.to_host == 1
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.utils.backend_registration as registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

if not hasattr(registration, "_DummyBackendModule"):
    pytest.skip(
        "this release of torch takes no back ends that are written in Python", allow_module_level=True
    )

NAME = "pretend"

#: Operations that may take tensors of the host beside those of the device.
_MIXES = {"copy_", "_to_copy", "index_put_", "_index_put_impl_"}

#: Operations whose result has a size that the host must be told.
_SIZED_BY_NUMBERS = {
    "nonzero",
    "_unique2",
    "unique_dim",
    "unique_consecutive",
    "masked_select",
    "repeat_interleave",
}

_registered = False


class Traffic:
    """What passed between the host and the device.

    Attributes:
        counts: Operations by kind.
        bytes_to_host: How much was copied to the host.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.bytes_to_host = 0

    @property
    def to_device(self) -> int:
        """Copies to the device."""
        return self.counts["to device"]

    @property
    def to_host(self) -> int:
        """Copies to the host."""
        return self.counts["to host"]

    @property
    def waits(self) -> int:
        """Times that the host waited for a number, or for a size that depends on numbers."""
        return self.counts["wait"]


class _Module(registration._DummyBackendModule):  # type: ignore[misc]
    """What torch asks of a back end beside operations."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        """What models may compute in."""
        return [torch.float16, torch.bfloat16]


class Pretended(torch.Tensor):
    """A tensor of the device; ``numbers`` holds them."""

    numbers: torch.Tensor
    traffic: Traffic | None = None

    @staticmethod
    def __new__(cls, numbers: torch.Tensor) -> Pretended:
        return torch.Tensor._make_wrapper_subclass(
            cls,
            numbers.size(),
            strides=numbers.stride(),
            storage_offset=numbers.storage_offset(),
            dtype=numbers.dtype,
            layout=numbers.layout,
            device=torch.device(NAME, 0),
        )

    def __init__(self, numbers: torch.Tensor) -> None:
        self.numbers = numbers

    def __repr__(self) -> str:
        return f"Pretended({self.numbers!r})"

    def tolist(self) -> Any:
        """As of other devices: the host waits, and copies."""
        _note("wait")
        return self.numbers.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """As of other devices: refused."""
        raise TypeError("a tensor of the device has no numpy array")

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Catches what makes tensors where the device is named."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


@contextmanager
def visiting() -> Iterator[Traffic]:
    """The device is there, for this thread; what passes is counted."""
    global _registered
    if not _registered:
        registration._setup_privateuseone_for_python_backend(NAME, _Module())
        _registered = True
    # ``torch.tensor(..., device=...)`` makes its tensor on the host and moves it.
    lifted_before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    Pretended.traffic = traffic = Traffic()
    try:
        with _Factories():
            yield traffic
    finally:
        Pretended.traffic = None
        torch._C._set_only_lift_cpu_tensors(lifted_before)


class Threads(ThreadPoolExecutor):
    """Threads for which the device is there, too."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, initializer=lambda: _Factories().__enter__(), **named)


def moved_model(model: Any) -> Any:
    """The model itself, its parameters and buffers on the device; not counted."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                on_device = torch.nn.Parameter(Pretended(parameter.data), requires_grad=False)
                module._parameters[name] = on_device
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = Pretended(buffer)
    return model


def moved(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor on the device; not counted."""
    return Pretended(tensor)


def _note(kind: str) -> None:
    if Pretended.traffic is not None:
        Pretended.traffic.counts[kind] += 1


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = function.overloadpacket.__name__
    if name == "_fused_sdp_choice":
        return 0  # no kernel of the CPU's: plain products
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
    theirs = [tensor for tensor in tensors if not isinstance(tensor, Pretended)]
    if ours and name not in _MIXES and any(tensor.dim() for tensor in theirs):
        raise RuntimeError(f"{name}: tensors of the host and of the device")
    if (name == "_local_scalar_dense" and ours) or (name in _SIZED_BY_NUMBERS and ours):
        _note("wait")
    if name == "index" and any(place is not None and place.dtype == torch.bool for place in args[1]) and ours:
        _note("wait")
    target = kwargs.get("device")
    inner_args, inner_kwargs = tree_map(_of_host, (args, kwargs))
    inner_kwargs.pop("pin_memory", None)
    result = function(*inner_args, **inner_kwargs)
    if name == "copy_":
        _note_copy(args[0], args[1])
        return args[0]
    if name.endswith("_") and isinstance(args[0], Pretended):
        return args[0]
    there = _is_there(target) if target is not None else bool(ours)
    wrapped = tree_map(lambda part: _on_device(part, ours), result) if there else result
    if name == "_to_copy" and target is not None:
        _note_copy(wrapped, args[0])
    return wrapped


def _note_copy(to: torch.Tensor, of: torch.Tensor) -> None:
    if isinstance(of, Pretended) and not isinstance(to, Pretended):
        _note("to host")
        if Pretended.traffic is not None:
            Pretended.traffic.bytes_to_host += to.nbytes
    if isinstance(to, Pretended) and not isinstance(of, Pretended):
        _note("to device")


def _is_there(device: Any) -> bool:
    return torch.device(device).type == NAME


def _of_host(part: Any) -> Any:
    if isinstance(part, Pretended):
        return part.numbers
    return torch.device("cpu") if isinstance(part, torch.device) and _is_there(part) else part


def _on_device(part: Any, known: list[Any]) -> Any:
    if not isinstance(part, torch.Tensor) or isinstance(part, Pretended):
        return part
    for tensor in known:
        if tensor.numbers is part:  # given as ``out``
            return tensor
    return Pretended(part)
