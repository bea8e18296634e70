"""Samples whose attributions are put to the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gilot_plugin.attribution.types import Prompt, Unit
from gilot_plugin.faithfulness.curves import SampleKey

#: Places in ``units``, most relevant first.
Ranking = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class RankedSample:
    """A sample with the rankings of its units.

    Attributes:
        key: Which sample.
        prompt: The prompt as fed.
        units: What may be removed; template and special tokens are never among them.
        rankings: By name of the attribution method or of the control.
        choices: Tokens of each of the task's choices as fed after the prompt; empty where the model answers
            freely.
        lengths: Characters of each choice, where they are compared per character; None for log-likelihoods.
        unscored: How many tokens of each choice belong to its context, where contexts differ; None for none.
        said: What is explained of the answer, where that is no beginning of it: what came before is part of
            the prompt. None where the model is asked for its answer.
    """

    key: SampleKey
    prompt: Prompt
    units: tuple[Unit, ...]
    rankings: Mapping[str, Ranking]
    choices: tuple[tuple[int, ...], ...] = ()
    lengths: tuple[int, ...] | None = None
    unscored: tuple[int, ...] | None = None
    said: tuple[int, ...] | None = None


def ranking_of(scores: Sequence[float], seed: int) -> Ranking:
    """Units by score, highest first; equal ones in a random order, so that the prompt's order tells nothing.

    Signed scores count with their sign: what speaks against the answer comes last.
    """
    shuffled = np.random.default_rng(seed).permutation(len(scores))
    order = shuffled[np.argsort(-np.asarray(scores)[shuffled], kind="stable")]
    return tuple(int(place) for place in order)
