"""How uncertain the model is of its answer: the entropy of its outcome distribution."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from gilot_plugin.attribution.engine import attribute_together
from gilot_plugin.attribution.inquiry import Inquiry
from gilot_plugin.errors import PromptError
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.questions import question_about
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
    places: dict[Inquiry[Any], int] = {}
    found: list[float | None] = [None] * len(samples)
    for place, sample in enumerate(samples):
        try:
            places[question_about(run, sample, measured=False).inquiry] = place
        except PromptError as error:
            _LOGGER.debug("%s doc %d: %s", sample.identity.task, sample.identity.doc_id, error)
    if places:
        assert run.backend is not None  # or no question could have been asked
        for inquiry, answer in attribute_together(run.backend, list(places)):
            if isinstance(answer, Exception):
                raise answer
            found[places[inquiry]] = answer.diagnostics.outcome_entropy
    return found
