"""Built-in plugin: the record of a chosen sample."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from gilot_plugin.artifacts.records import RecordKey, Status, attributed_record, unattributed_record
from gilot_plugin.attribution.engine import attribute_together
from gilot_plugin.attribution.game import Game
from gilot_plugin.attribution.noise import NOISE_SAMPLES, noise_floor, remeasure
from gilot_plugin.attribution.types import Attribution
from gilot_plugin.errors import PromptError
from gilot_plugin.harness.asking.games import SampleGame, sample_game
from gilot_plugin.harness.asking.prompts import SamplePrompt
from gilot_plugin.harness.choosing.samples import Sample
from gilot_plugin.harness.run import EvaluationRun
from gilot_plugin.hookspecs import hookimpl

_LOGGER = logging.getLogger(__name__)

#: Samples that are explained at once where none of them fills the device.
_MOST_TOGETHER = 16


@hookimpl
def gilot_attribute_sample(run: EvaluationRun, sample: Sample) -> Mapping[str, Any]:
    """Explain the sample; whatever goes wrong is its record's reason and does not stop the others.

    Where it does not fill the device, the samples that come next are explained with it.
    """
    key = sample.identity.key
    while key not in run.ahead:
        found = next(run.under_way, None)
        if found is None:
            run.under_way = _records(run, [sample, *run.upcoming])
        else:
            run.ahead.update([found])
    return run.ahead.pop(key)


def _records(run: EvaluationRun, samples: Sequence[Sample]) -> Iterator[tuple[RecordKey, Mapping[str, Any]]]:
    """Records of the first sample, and of those after it that are explained with it, as they are ready."""
    played: dict[Game, tuple[Sample, SampleGame]] = {}
    width = 0
    for sample in samples[:_MOST_TOGETHER]:
        if sample.identity.task != samples[0].identity.task:
            break
        found = _attempt(run, sample, lambda sample: sample_game(run, sample))
        if isinstance(found, SampleGame):
            played[found.game] = (sample, found)
            width += found.game.width
        else:
            yield sample.identity.key, found
        if run.backend is None or width >= run.backend.fill_tokens:
            break
    if played:
        assert run.backend is not None
        for game, answer in attribute_together(run.backend, list(played)):
            sample, one = played[game]
            yield sample.identity.key, _attempt(run, sample, partial(_record, run, one, answer))


_FoundT = TypeVar("_FoundT")


def _attempt(
    run: EvaluationRun, sample: Sample, find: Callable[[Sample], _FoundT]
) -> _FoundT | Mapping[str, Any]:
    """What is looked for, or a record that says why it could not be found."""
    task = run.tasks[sample.identity.task]
    status: Status
    try:
        return find(sample)
    except PromptError as error:
        status, reason = "skipped", str(error)
    except Exception as error:
        _LOGGER.debug("attribution of %s doc %s failed", task.name, sample.identity.doc_id, exc_info=True)
        status, reason = "failed", f"{type(error).__name__}: {error}"
    return unattributed_record(
        sample.identity, status, reason, config_hash=task.config.hash, model=run.model_name
    )


def _record(
    run: EvaluationRun, played: SampleGame, answer: Attribution | Exception, sample: Sample
) -> Mapping[str, Any]:
    if isinstance(answer, Exception):
        raise answer
    # Where a distance is NaN, the record is refused here.
    return attributed_record(
        sample.identity,
        _with_noise(run, played, sample, _with_truncation(answer, played.fed)),
        target=played.describe(answer),
        config_hash=run.tasks[sample.identity.task].config.hash,
        model=run.model_name,
    )


def _with_truncation(attribution: Attribution, fed: SamplePrompt) -> Attribution:
    diagnostics = replace(attribution.diagnostics, truncated_tokens=fed.truncated_tokens)
    return replace(attribution, diagnostics=diagnostics)


def _with_noise(
    run: EvaluationRun, played: SampleGame, sample: Sample, attribution: Attribution
) -> Attribution:
    """The attribution with the noise floor of its task, which its first samples tell."""
    task, backend = run.tasks[sample.identity.task], run.backend
    assert backend is not None  # or nothing is explained
    wanted = task.config.noise_floor
    # In single precision, other batches move scores by less than 1e-5.
    if not (backend.half_precision if wanted == "auto" else wanted) or not played.game.measures:
        return attribution
    samples = run.remeasured.setdefault(task.name, [])
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
