"""Problems of different sizes as one batch of tensors, within a bound of memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from gilot_plugin.attribution.transport.problem import TransportProblem

#: Bytes that a batch may take on the host while it is solved; a problem that needs more by itself is solved
#: alone. On a device, whoever gives many problems keeps to its budget.
WORKING_BYTES = 2**30

#: Memory by entry of ``[b, n, n]``: five tensors of float64 are alive at once, the costs, the plan, and what
#: is made on the way.
ENTRY_BYTES = 5 * 8


class PaddedProblems(NamedTuple):
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

    def only(self, chosen: torch.Tensor) -> PaddedProblems:
        """The problems at the given indices or where the given mask is true."""
        return PaddedProblems(*(tensor[chosen] for tensor in self))


def in_chunks(problems: Sequence[TransportProblem], working_bytes: int) -> Iterator[list[int]]:
    """Indices of problems to solve together: each once, of similar sizes, on the same device.

    Args:
        problems: What is solved.
        working_bytes: What a batch may take on the host; on a device, no more than half of it is padding.
    """
    order = sorted(
        range(len(problems)),
        key=lambda index: (str(problems[index].costs.device), len(problems[index].source)),
    )
    chunk: list[int] = []
    filled = 0
    for index in order:
        # Ascending sizes: the next problem is the one that the others would be padded to.
        own, device = len(problems[index].source) ** 2, problems[index].costs.device
        entries = (len(chunk) + 1) * own
        too_much = (
            entries * ENTRY_BYTES > working_bytes if device.type == "cpu" else entries > 2 * (filled + own)
        )
        if chunk and (too_much or problems[chunk[0]].costs.device != device):
            yield chunk
            chunk, filled = [], 0
        chunk.append(index)
        filled += own
    if chunk:
        yield chunk


def padded(problems: Sequence[TransportProblem]) -> PaddedProblems:
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
    return PaddedProblems(source, target, costs, to_unit_range(costs), largest)


def to_unit_range(costs: torch.Tensor) -> torch.Tensor:
    """Divide each problem's costs ``[b, n, m]`` by the largest, in place.

    Returns:
        The divisors, ``[b]``; 1 where all costs are 0.
    """
    ranges = costs.amax((1, 2))
    ranges = torch.where(ranges > 0.0, ranges, 1.0)
    costs /= ranges[:, None, None]
    return ranges
