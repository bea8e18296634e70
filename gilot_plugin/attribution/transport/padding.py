"""Problems of different sizes as one batch of tensors, within a bound of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from gilot_plugin.attribution.transport.problem import TransportProblem

#: Bytes that a batch may take while it is solved; a problem that needs more by itself is solved alone.
WORKING_BYTES = 2**30

#: Memory by entry of ``[b, n, n]``: five tensors of float64 are alive at once, the costs, the plan, and what
#: is made on the way.
ENTRY_BYTES = 5 * 8


class Batch(NamedTuple):
    """Problems padded to one size by outcomes without mass, in float64.

    Attributes:
        source: ``[b, n]``.
        target: ``[b, m]``.
        costs: In units of each problem's range, so that the largest is 1, ``[b, n, m]``.
        ranges: The largest cost of each problem as given, ``[b]``; 1 where it is 0.
        largest: The same; 0 where it is 0.
    """

    source: torch.Tensor
    target: torch.Tensor
    costs: torch.Tensor
    ranges: torch.Tensor
    largest: torch.Tensor

    def only(self, chosen: torch.Tensor) -> Batch:
        """The problems at the given indices or where the given mask is true."""
        return Batch(*(tensor[chosen] for tensor in self))


def in_chunks(problems: Sequence[TransportProblem], working_bytes: int) -> Iterator[list[int]]:
    """Indices of problems to solve together: each once, of similar sizes, on the same device."""
    order = sorted(
        range(len(problems)),
        key=lambda index: (str(problems[index].costs.device), len(problems[index].source)),
    )
    chunk: list[int] = []
    for index in order:
        # Ascending sizes: the next problem is the one that the others would be padded to.
        entries = (len(chunk) + 1) * len(problems[index].source) ** 2
        elsewhere = chunk and problems[chunk[0]].costs.device != problems[index].costs.device
        if chunk and (elsewhere or entries * ENTRY_BYTES > working_bytes):
            yield chunk
            chunk = []
        chunk.append(index)
    if chunk:
        yield chunk


def padded(problems: Sequence[TransportProblem]) -> Batch:
    """Put problems into one batch, on the device of their costs.

    Devices without float64 (Apple's) hand the work to the CPU.
    """
    count, size = len(problems), max(len(problem.source) for problem in problems)
    device = problems[0].costs.device
    if device.type == "mps":
        device = torch.device("cpu")
    masses = np.zeros((2, count, size))
    costs = torch.zeros(count, size, size, dtype=torch.float64, device=device)
    for index, problem in enumerate(problems):
        n = len(problem.source)
        masses[0, index, :n], masses[1, index, :n] = problem.source, problem.target
        costs[index, :n, :n] = problem.costs.to(device)
    source, target = torch.from_numpy(masses).to(device)
    largest = costs.amax((1, 2))
    return Batch(source, target, costs, to_unit_range(costs), largest)


def to_unit_range(costs: torch.Tensor) -> torch.Tensor:
    """Divide each problem's costs ``[b, n, m]`` by the largest, in place.

    Returns:
        The divisors, ``[b]``; 1 where all costs are 0.
    """
    ranges = costs.amax((1, 2))
    ranges = torch.where(ranges > 0.0, ranges, 1.0)
    costs /= ranges[:, None, None]
    return ranges
