"""The simulation that says how often claims are false: small here, whole where it is marked slow."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from gilot_plugin.statistics.families import ALPHA


def named(text: str):  # type: ignore[no-untyped-def]  # of a module that is only found here
    from claim_worlds import worlds

    return [world for world in worlds() if text in f"{world.claim}, {world.world}"]


def most(drawn: int) -> int:
    """So many false drawings come up once in a thousand if the rate is what is promised."""
    return int(scipy.stats.binom.isf(0.001, drawn, ALPHA))


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("any finding, the base run repeated, 8 pairs", 40),
        ("shifts that the repetition shows too", 15),
        ("every character alike, skewed, 10 samples", 50),
        ("two methods as good as random, 10 samples", 60),
        ("three methods at the threshold, 8 samples", 15),
    ],
)
def test_where_nothing_is_there_hardly_ever_something_is_found(text: str, drawn: int) -> None:
    (world,) = named(text)
    outcomes = [world.draw(np.random.default_rng((0, number))) for number in range(drawn)]
    assert all(found.planted == 0 for found in outcomes)
    assert sum(found.false > 0 for found in outcomes) <= most(drawn)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("the same, 4 words of 61 shift more", 0.2),
        ("1 word shifts by 0.9 d in 24 pairs, 150 others", 0.4),
        ("the question three times as much, 20 samples", 0.8),
        ("one is better by 0.15, 20 samples", 0.4),
        ("correlations of 0.2", 0.8),
    ],
)
def test_what_is_there_is_found(text: str, least: float) -> None:
    (world,) = named(text)
    outcomes = [world.draw(np.random.default_rng((0, number))) for number in range(3)]
    assert np.mean([found.hits / found.planted for found in outcomes]) >= least


def test_the_command_prints_its_tables_and_fails_where_a_promise_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import claims
    from claim_worlds import Outcome, World

    kept = World("kept", "world", lambda generator: Outcome(2, 0, 2, 2), planted=True)
    monkeypatch.setattr(claims, "worlds", lambda: [kept])
    assert claims.main(["--drawn", "20"]) == 0
    out = capsys.readouterr().out
    assert "| kept | world | 5 | 0.0 ± " in out
    assert "| shares around 0.5 | 20 | " in out
    broken = World("broken", "world", lambda generator: Outcome(2, 1))
    monkeypatch.setattr(claims, "worlds", lambda: [kept, broken])
    assert claims.main(["--drawn", "20", "--only", "broken"]) == 1
    assert "not held: broken, world" in capsys.readouterr().out


@pytest.mark.slow
def test_all_claims_hold() -> None:
    import claims

    assert claims.main(["--drawn", "40"]) == 0
