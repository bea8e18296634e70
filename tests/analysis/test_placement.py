from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.analysis.placement import placements
from gilot_plugin.artifacts.typed import Record
from tests.comparison.simulated import make_record

WORDS = (("a", "one"), (" b", "one"), (" c", "two"), (" d", "two"), (" e", "two"), (" f", "two"))


def turned(record: Record, segment: str) -> list[float]:
    """Shares of a segment as the scores a character are turned round the prompt, written down."""
    lengths = [end - start for start, end in record.spans]
    density = [score / length for score, length in zip(record.scores["ot"], lengths, strict=True)]
    shares = []
    for turn in range(len(lengths)):
        scores = [length * density[(place + turn) % len(lengths)] for place, length in enumerate(lengths)]
        own = [score for score, unit in zip(scores, record.units, strict=True) if unit.segment == segment]
        shares.append(sum(own) / sum(scores))
    return shares


def test_a_placement_is_the_rank_among_all_turns() -> None:
    record = make_record([0.2, 0.9, 0.1, 0.4, 0.05, 0.3], words=WORDS)
    found = placements(record, "ot", np.random.default_rng(0))
    for segment in ("one", "two"):
        shares = turned(record, segment)
        below = sum(share < shares[0] for share in shares)
        assert below / 6 <= found[segment] <= (below + 1) / 6


def test_a_part_that_has_everything_is_at_the_top() -> None:
    generator = np.random.default_rng(0)
    found = [placements(make_record([5, 5, 0, 0, 0, 0], words=WORDS), "ot", generator) for _ in range(50)]
    assert min(one["one"] for one in found) >= 5 / 6
    assert max(one["two"] for one in found) <= 1 / 6


@pytest.mark.parametrize("smooth", [1, 4])
def test_placements_are_uniform_where_every_character_matters_alike(smooth: int) -> None:
    """However skewed the scores, and whether or not neighbours are alike."""
    generator = np.random.default_rng(1)
    words = [("word ", "one" if place < 3 else "two") for place in range(20)]
    found = []
    for _ in range(400):
        scores = generator.gamma(0.2, 1.0, 20)
        scores = np.mean([np.roll(scores, step) for step in range(smooth)], axis=0)
        found.append(placements(make_record(list(scores), words=words), "ot", generator)["one"])
    assert scipy.stats.kstest(found, "uniform").pvalue > 1e-3


def test_nothing_is_placed_where_there_is_nothing_to_compare() -> None:
    generator = np.random.default_rng(0)
    assert placements(make_record([0.0] * 6, words=WORDS), "ot", generator) == {}
    assert placements(make_record([1.0], words=[("a", "one")]), "ot", generator) == {}
    assert placements(make_record([1.0] * 6, words=WORDS), "kl", generator) == {}
