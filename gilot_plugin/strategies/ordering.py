"""Samples in the order of the evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from gilot_plugin.extension.samples import ChosenSample, Sample


def in_order(samples: Sequence[Sample], chosen: Sequence[ChosenSample]) -> list[ChosenSample]:
    """The chosen samples in the order of all."""
    places = {id(sample): place for place, sample in enumerate(samples)}
    return sorted(chosen, key=lambda one: places[id(one.sample)])


def by_task(samples: Sequence[Sample]) -> dict[str, list[Sample]]:
    """The samples of each task."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.identity.task, []).append(sample)
    return found
