"""Built-in plugin: the records of chosen samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from gilot_plugin.artifacts.models import Status
from gilot_plugin.artifacts.records import attributed_record, unattributed_record
from gilot_plugin.attribution.engine import attribute_together
from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.noise import NOISE_SAMPLES, Remeasured, noise_floor, remeasure
from gilot_plugin.attribution.types import Attribution
from gilot_plugin.errors import PromptError
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.asking.games import SampleGame, sample_game
from gilot_plugin.harness.asking.prompts import SamplePrompt
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.hookspecs import hookimpl

_LOGGER = logging.getLogger(__name__)

#: Samples that are explained at once where none of them fills the device.
_MOST_TOGETHER = 16

_FoundT = TypeVar("_FoundT")

#: A sample and its record.
_Explained = tuple[Sample, Mapping[str, Any]]


class Explainer:
    """Explains samples of one run.

    Args:
        run: The run.
    """

    def __init__(self, run: EvaluationRun) -> None:
        self._run = run
        #: By task, what was measured twice of its first samples.
        self._remeasured: dict[str, list[Remeasured]] = {}

    @hookimpl(trylast=True)
    def gilot_attribute_samples(self, samples: Iterator[Sample]) -> Iterator[_Explained]:
        """Explain the samples; whatever goes wrong is a record's reason and does not stop the others.

        Where one does not fill the device, those that come next are explained with it.
        """
        for first in samples:
            yield from self._together(first, samples)

    def _together(self, first: Sample, others: Iterator[Sample]) -> Iterator[_Explained]:
        """The first sample, and as many others as the device has room for, as they are ready."""
        run = self._run
        played: dict[Game, tuple[Sample, SampleGame]] = {}
        width = taken = 0
        sample: Sample | None = first
        while sample is not None:
            found = self._attempt(sample, partial(sample_game, run))
            if isinstance(found, SampleGame):
                played[found.game] = (sample, found)
                width += found.game.width
            else:
                yield sample, found
            taken += 1
            full = run.backend is None or width >= run.backend.limits.fill_tokens or taken == _MOST_TOGETHER
            sample = None if full else next(others, None)
        if played:
            assert run.backend is not None
            for game, answer in attribute_together(run.backend, list(played)):
                sample, one = played[game]
                yield sample, self._attempt(sample, partial(self._record, one, answer))

    def _attempt(self, sample: Sample, find: Callable[[Sample], _FoundT]) -> _FoundT | Mapping[str, Any]:
        """What is looked for, or a record that says why it could not be found."""
        task = self._run.tasks[sample.identity.task]
        status: Status
        try:
            return find(sample)
        except PromptError as error:
            status, reason = "skipped", str(error)
        except Exception as error:
            _LOGGER.debug("attribution of %s doc %s failed", task.name, sample.identity.doc_id, exc_info=True)
            status, reason = "failed", f"{type(error).__name__}: {error}"
        return unattributed_record(
            sample.identity, status, reason, config_hash=task.config.hash, model=self._run.model_name
        )

    def _record(
        self, played: SampleGame, answer: Attribution | Exception, sample: Sample
    ) -> Mapping[str, Any]:
        if isinstance(answer, Exception):
            raise answer
        # Where a distance is NaN, the record is refused here.
        return attributed_record(
            sample.identity,
            self._with_noise(played, sample, _with_truncation(answer, played.fed)),
            target=played.describe(answer),
            config_hash=self._run.tasks[sample.identity.task].config.hash,
            model=self._run.model_name,
        )

    def _with_noise(self, played: SampleGame, sample: Sample, attribution: Attribution) -> Attribution:
        """The attribution with the noise floor of its task, which its first samples tell."""
        task, backend = self._run.tasks[sample.identity.task], self._run.backend
        assert backend is not None  # or nothing is explained
        wanted = task.config.noise_floor
        # In single precision, other batches move scores by less than 1e-5.
        if not (backend.limits.half_precision if wanted == "auto" else wanted) or not played.game.measures:
            return attribution
        samples = self._remeasured.setdefault(task.name, [])
        seconds = dict(attribution.diagnostics.seconds)
        if len(samples) < NOISE_SAMPLES:
            try:
                samples.append(remeasure(played.game, attribution))
                seconds["noise_floor"] = samples[-1].seconds
            except Exception as error:  # the scores are there, and are not to be lost for this
                _LOGGER.warning("the noise floor of %s could not be measured: %r", task.name, error)
        floor = noise_floor(samples)
        diagnostics = replace(attribution.diagnostics, noise_floor=floor, seconds=seconds)
        return replace(attribution, diagnostics=diagnostics)


def _with_truncation(attribution: Attribution, fed: SamplePrompt) -> Attribution:
    diagnostics = replace(attribution.diagnostics, truncated_tokens=fed.truncated_tokens)
    return replace(attribution, diagnostics=diagnostics)
