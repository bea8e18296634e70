"""How uncertain the model is of its answer: the entropy of its outcome distribution."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gilot_plugin.attribution.game import Game, read_together
from gilot_plugin.errors import PromptError
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.games import sample_game
from gilot_plugin.harness.state.run import EvaluationRun

_LOGGER = logging.getLogger(__name__)

#: Samples that are read together at most.
_MOST_TOGETHER = 64


def generation_entropies(run: EvaluationRun, samples: Sequence[Sample]) -> list[float | None]:
    """Entropy, in nats, of what the model might say to each sample; None where it cannot be explained.

    The full prompts are read in full batches; no unit is measured.
    """
    if samples:
        _LOGGER.info("reading %d prompts to compare how certain their outcomes are", len(samples))
    found: list[float | None] = []
    for start in range(0, len(samples), _MOST_TOGETHER):
        found += _entropies(run, samples[start : start + _MOST_TOGETHER])
    return found


def _entropies(run: EvaluationRun, samples: Sequence[Sample]) -> list[float | None]:
    games: dict[Game, int] = {}
    found: list[float | None] = [None] * len(samples)
    for place, sample in enumerate(samples):
        try:
            games[sample_game(run, sample, measured=False).game] = place
        except PromptError as error:
            _LOGGER.debug("%s doc %d: %s", sample.identity.task, sample.identity.doc_id, error)
    for game, values in read_together(dict.fromkeys(games, ())).items():
        if isinstance(values, Exception):
            raise values
        found[games[game]] = game.full.entropy
    return found
