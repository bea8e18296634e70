"""How often the product's claims are false, and how often it finds what is there: simulated, no model."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from claim_worlds import World, worlds

from gilot_plugin.statistics.families import ALPHA
from gilot_plugin.statistics.intervals import CONFIDENCE, mean_interval


class Rate(NamedTuple):
    """A mean over drawings, with its Monte-Carlo error.

    Attributes:
        mean: The mean.
        error: Standard error of it.
    """

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ± {100 * self.error:.1f} %"


class Row(NamedTuple):
    """What came of one world.

    Attributes:
        world: The world.
        drawn: How often it was drawn.
        false: Share of the findings that is false; where nothing is there, how often anything was found.
        power: Share of what is there that was found; None where nothing is there.
    """

    world: World
    drawn: int
    false: Rate
    power: Rate | None


def simulate(world: World, drawn: int, seed: int) -> Row:
    """Draw a world so many times."""
    outcomes = [world.draw(np.random.default_rng((seed, number))) for number in range(drawn)]
    planted = [found for found in outcomes if found.planted]
    return Row(
        world,
        drawn,
        _rate(found.false / max(1, found.found) for found in outcomes),
        _rate(found.hits / found.planted for found in planted) if planted else None,
    )


def _rate(values: Iterable[float]) -> Rate:
    found = np.array(list(values))
    # One more of each kind, so that what never happened is not told with an error of 0.
    share = (found.sum() + 1) / (len(found) + 2)
    spread = max(float(np.std(found)), float(np.sqrt(share * (1 - share))) * (found.std() == 0))
    return Rate(float(found.mean()), spread / np.sqrt(len(found)))


_HEADING = "| claim | world | drawn | false | found of what is there |\n| --- | --- | ---: | ---: | ---: |"


def line_of(row: Row) -> str:
    """A row of the table, in Markdown."""
    power = "" if row.power is None else row.power
    return f"| {row.world.claim} | {row.world.world} | {row.drawn} | {row.false} | {power} |"


def coverage_table(drawn: int, seed: int) -> Iterator[str]:
    """How often intervals hold the mean, beside those of the bias-corrected bootstrap."""
    yield "| values | samples | interval | bootstrap (BCa) |"
    yield "| --- | ---: | ---: | ---: |"
    for name, share in (("shares around 0.5", (2.0, 2.0)), ("shares around 0.1, skewed", (0.5, 4.5))):
        for count in (5, 10, 20, 50):
            values = np.random.default_rng((seed, count)).beta(*share, (drawn, count))
            mean = share[0] / sum(share)
            held = [low <= mean <= high for low, high in map(_interval, values)]
            few = values[: max(1, drawn // 5)]
            found = scipy.stats.bootstrap(
                (few,), np.mean, axis=1, n_resamples=999, confidence_level=CONFIDENCE, rng=seed
            ).confidence_interval
            resampled = (found.low <= mean) & (mean <= found.high)
            yield f"| {name} | {count} | {_rate(held)} | {_rate(resampled.astype(float))} |"


def _interval(values: np.ndarray) -> tuple[float, float]:
    low, high = mean_interval(values, 0.0, 1.0)
    assert low is not None  # samples enough
    assert high is not None
    return low, high


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate and print; 1 where a claim is false more often than promised, beyond the error of that."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawn", type=int, default=400, help="drawings of each world (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="of all drawings (default: 0)")
    parser.add_argument("--only", default="", help="worlds whose claim or description has this text")
    options = parser.parse_args(arguments)
    print(f"Promised: at most {ALPHA:.0%} of the findings are false. Error: one standard error.\n")
    print(_HEADING, flush=True)
    broken = []
    for world in worlds():
        if options.only not in f"{world.claim}, {world.world}":
            continue
        # How often something is found need not be known as exactly as how often it is not there.
        drawn = max(1, options.drawn // 4) if world.planted else options.drawn
        row = simulate(world, drawn, options.seed)
        print(line_of(row), flush=True)
        if row.false.mean - 3 * row.false.error > ALPHA:
            broken.append(world)
    if not options.only:
        print("\nHow often intervals hold the mean, of 95 %:\n")
        print("\n".join(coverage_table(options.drawn, options.seed)))
    for world in broken:
        print(f"\nnot held: {world.claim}, {world.world}")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
