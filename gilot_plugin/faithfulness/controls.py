"""Rankings that know nothing of the model: what every attribution method has to beat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gilot_plugin.faithfulness.curves import Curves, SampleCurves, SampleKey
from gilot_plugin.faithfulness.ranked import Ranking


class Control(NamedTuple):
    """A ranking without knowledge.

    Attributes:
        name: Key in results.
        summary: One line for tables.
    """

    name: str
    summary: str


RANDOM = Control("random", "units in random order, the mean over several orders")
FIRST_TO_LAST = Control("first_to_last", "units in the order of the prompt")
LAST_TO_FIRST = Control("last_to_first", "units in the order of the prompt, from its end")
REVERSED = Control("reversed", "the method's own ranking, least relevant first")

#: Whatever the method; ``reversed`` is its own.
COMMON_CONTROLS = (RANDOM, FIRST_TO_LAST, LAST_TO_FIRST)
CONTROLS = (*COMMON_CONTROLS, REVERSED)

#: Before the name of a ranking that is no method's, because a method may be called ``random``, too.
_PREFIX = "control:"


def sample_seed(seed: int, key: SampleKey, purpose: str = "") -> int:
    """A seed of the sample's own, the same in whatever order and company samples are looked at.

    Another one for each purpose: what is drawn for one is not drawn again for another.
    """
    digest = hashlib.sha256(repr((seed, *key, *filter(None, [purpose]))).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def control_rankings(key: SampleKey, units: int, seed: int, random_rankings: int) -> dict[str, Ranking]:
    """Rankings whose curves have to be measured; the others are mirrored.

    Args:
        key: Which sample.
        units: Its number of units.
        seed: Of the random rankings.
        random_rankings: How many of them.

    Returns:
        By their names in :class:`SampleCurves`.
    """
    generator = np.random.default_rng(sample_seed(seed, key))
    rankings = {
        f"{_PREFIX}{RANDOM.name}:{number}": tuple(map(int, generator.permutation(units)))
        for number in range(1, random_rankings + 1)
    }
    return rankings | {f"{_PREFIX}{FIRST_TO_LAST.name}": tuple(range(units))}


def is_control(ranking: str) -> bool:
    """Whether the ranking is a control's and no method's."""
    return ranking.startswith(_PREFIX)


class SampleRankings(NamedTuple):
    """Curves of one sample, as far as they are of one quantity and absence.

    Attributes:
        methods: By name of the attribution method.
        controls: By name of the control, without those that are the method's own.
    """

    methods: Mapping[str, Curves]
    controls: Mapping[str, Curves]


def with_controls(curves: Mapping[str, Curves]) -> SampleRankings:
    """Put the controls of a sample together: random rankings averaged, the order of the prompt mirrored.

    Args:
        curves: Of one quantity and absence, by name of the ranking.
    """
    methods = {name: found for name, found in curves.items() if not is_control(name)}
    controls: dict[str, Curves] = {}
    drawn = [found for name, found in curves.items() if name.startswith(f"{_PREFIX}{RANDOM.name}:")]
    if drawn:
        controls[RANDOM.name] = mean_curves(drawn)
    in_order = curves.get(f"{_PREFIX}{FIRST_TO_LAST.name}")
    if in_order is not None:
        controls |= {FIRST_TO_LAST.name: in_order, LAST_TO_FIRST.name: in_order.mirrored}
    return SampleRankings(methods, controls)


def mean_curves(curves: Sequence[Curves]) -> Curves:
    """Pointwise mean of curves of one quantity."""
    morf = np.mean([found.morf for found in curves], axis=0).tolist()
    lerf = np.mean([found.lerf for found in curves], axis=0).tolist()
    return Curves(tuple(morf), tuple(lerf), curves[0].falls)


def by_measure(
    found: Iterable[SampleCurves],
) -> dict[tuple[str, str], dict[SampleKey, dict[str, Curves]]]:
    """Sort curves by quantity and absence, then by sample, then by ranking."""
    sorted_curves: dict[tuple[str, str], dict[SampleKey, dict[str, Curves]]] = {}
    for sample, quantity, curves in _single(found):
        of_sample = sorted_curves.setdefault((quantity, sample.absence), {}).setdefault(sample.key, {})
        of_sample[sample.ranking] = curves
    return sorted_curves


def _single(found: Iterable[SampleCurves]) -> Iterator[tuple[SampleCurves, str, Curves]]:
    for sample in found:
        for quantity, curves in sample.quantities.items():
            yield sample, quantity, curves
