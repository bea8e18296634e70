"""The processes of one evaluation: lm-eval's ranks, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those that evaluate together.

    Under a data-parallel launch (``accelerate launch``, ``torchrun``) each rank scores its share of the
    documents, and rank 0 has the results. The objects travel through torch's default process group, as
    lm-eval's own results do.

    Attributes:
        rank: Of this process.
        size: Number of processes.
        writes: Whether this process writes artifacts. Under tensor parallelism every process evaluates
            everything, as rank 0 of 1, and lm-eval keeps the results of the first one on each machine only.
    """

    rank: int = 0
    size: int = 1
    writes: bool = True

    @property
    def leads(self) -> bool:
        """Whether this process chooses the samples and has the results."""
        return self.rank == 0

    def from_leader(self, value: _T) -> _T:
        """What rank 0 gave; every rank has to call this."""
        if self.size == 1:
            return value
        values = [value]
        torch.distributed.broadcast_object_list(values, src=0)
        return values[0]

    def from_all(self, value: _T) -> list[_T]:
        """What each rank gave, in their order; every rank has to call this."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value)
        return values

    def together(self, find: Callable[[], _T]) -> list[_T]:
        """What each rank finds, in their order; where one fails, all do. Every rank has to call this.

        Raises:
            Exception: What the first one that failed raised.
        """
        found: _T | Exception
        try:
            found = find()
        except Exception as error:
            found = error
        every = self.from_all(found)
        for one in every:
            if isinstance(one, Exception):
                raise one
        return [one for one in every if not isinstance(one, Exception)]

    def by_leader(self, act: Callable[[], _T]) -> _T:
        """Have rank 0 alone do something; every rank has to call this, and has what came of it.

        Raises:
            Exception: What it raised.
        """
        found: _T | Exception | None = None
        if self.leads:
            try:
                found = act()
            except Exception as error:
                found = error
        told = self.from_leader(found)
        if isinstance(told, Exception):
            raise told
        return told  # type: ignore[return-value]  # the leader has found something

    def to_leader(self, value: _T) -> list[_T]:
        """What each rank gave, in their order, for rank 0, none for others; every rank has to call this."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        torch.distributed.gather_object(value, values, dst=0)
        return values or []


#: One process by itself.
ALONE = Team()


def team_of(lm: Any) -> Team:
    """The processes that evaluate lm-eval's model object together."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    # Some model classes spread the work over processes of their own and answer for all of them, as one rank.
    if together and int(getattr(lm, "world_size", 1) or 1) > 1:
        # lm-eval's own ranks start anew on each machine.
        return Team(torch.distributed.get_rank(), torch.distributed.get_world_size())
    return Team(writes=int(os.environ.get("LOCAL_RANK") or 0) == 0)
