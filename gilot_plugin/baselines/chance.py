"""Random numbers of the methods: the same for the same prompt and seed, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from gilot_plugin.attribution.methods import MethodContext


def random_scores(context: MethodContext) -> list[float]:
    """A score for each unit, evenly drawn from 0 to 1: what a method that knows nothing gives."""
    found: list[float] = np.random.default_rng(_seeds(context)).random(len(context.units)).tolist()
    return found


@contextmanager
def torch_draws(context: MethodContext) -> Iterator[None]:
    """Torch's own generator on the CPU starts from the seed and the prompt; afterwards it is as before."""
    (seed,) = np.random.SeedSequence(_seeds(context)).generate_state(1, np.uint64)
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the generators of all devices.
        torch.default_generator.manual_seed(int(seed) >> 1)
        yield


def _seeds(context: MethodContext) -> list[int]:
    return [context.seed, *context.prompt.token_ids]
