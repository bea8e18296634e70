"""Chosen samples go from plugin to plugin until one explains them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gilot_plugin.artifacts.records import unattributed_record
from gilot_plugin.extension.samples import Sample
from gilot_plugin.harness.state.run import EvaluationRun
from gilot_plugin.plugins.manager import manager

#: A sample and its record.
Explained = tuple[Sample, Mapping[str, Any]]

_Answers = Iterable[tuple[Sample, Mapping[str, Any] | None]]


def explained(run: EvaluationRun, samples: Iterator[Sample]) -> Iterator[list[Explained]]:
    """Have samples of a task explained.

    What a plugin leaves out goes to the next one. A sample is taken from the iterator when a plugin asks for
    it, so that no other is begun once that has ended.

    Args:
        run: The run.
        samples: The samples.

    Yields:
        Samples with their records, as they are ready; in the end, each that was taken.
    """
    taken: dict[int, Sample] = {}
    ready: list[Explained] = []

    def noted() -> _Answers:
        for sample in samples:
            taken[id(sample)] = sample
            yield sample, None

    def left_out(answers: _Answers) -> Iterator[Sample]:
        for sample, record in answers:
            if record is None:
                yield sample
            else:
                ready.append((sample, record))

    def given_away() -> list[Explained]:
        found = ready.copy()
        ready.clear()
        for sample, _ in found:
            taken.pop(id(sample), None)
        return found

    answers = noted()
    # Each plugin's answers are what the next one is asked, which a call of all of them at once cannot say.
    for implementation in reversed(manager().hook.gilot_attribute_samples.get_hookimpls()):
        if implementation.wrapper or implementation.hookwrapper:
            continue
        given = {"run": run.view, "samples": left_out(answers)}
        own: Any = implementation.function(*(given[name] for name in implementation.argnames))
        answers = answers if own is None else own
    try:
        for sample, record in answers:
            if record is not None:
                ready.append((sample, record))
            yield given_away()
    except GeneratorExit:
        raise
    except BaseException:
        yield given_away()  # they are there already
        raise
    yield [*given_away(), *((sample, _forgotten(run, sample)) for sample in (*taken.values(), *samples))]


def _forgotten(run: EvaluationRun, sample: Sample) -> Mapping[str, Any]:
    config_hash = run.tasks[sample.identity.task].config.hash
    return unattributed_record(
        sample.identity, "failed", "no plugin explained it", config_hash=config_hash, model=run.model_name
    )
