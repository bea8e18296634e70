"""The global random generators, which belong to the evaluation."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def undisturbed() -> Iterator[None]:
    """Give whatever runs after the block the random numbers that it would have had without it."""
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - lm-eval seeds the global one
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call] # torch has no types
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002 - as above


def seed_all(seed: int) -> None:
    """Seed every global generator, as lm-eval does before an evaluation."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - as above
    torch.manual_seed(seed)
