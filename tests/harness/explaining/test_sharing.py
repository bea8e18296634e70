"""Work is shared out by its cost: every piece once, no share much longer than need be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gilot_plugin.artifacts.records import SampleIdentity
from gilot_plugin.extension import Sample
from gilot_plugin.harness.explaining.sharing import estimated_cost, share_out
from gilot_plugin.settings.config import GilotConfig

COSTS = st.lists(st.floats(0, 1e6), max_size=30)


@given(COSTS, st.integers(1, 6))
def test_every_piece_is_in_one_share_and_shares_are_balanced(costs: list[float], shares: int) -> None:
    found = share_out(costs, shares)
    assert len(found) == shares
    assert sorted(piece for share in found for piece in share) == list(range(len(costs)))
    assert all(share == sorted(share) for share in found)
    longest = max(sum(costs[piece] for piece in share) for share in found)
    # An even split is the least; the piece that ends last began when no share was longer than that.
    assert longest <= sum(costs) / shares + max(costs, default=0.0) + 1e-6


def test_by_cost_not_by_count() -> None:
    assert share_out([10.0, 1.0, 1.0, 1.0, 1.0], 2) == [[0], [1, 2, 3, 4]]


def sample(context: str) -> Sample:
    return Sample(SampleIdentity("task", 0, "", "", "", ""), {}, "", [(context, " yes")], [], [])


def test_long_prompts_cost_more_as_far_as_the_budget_goes() -> None:
    short, long = sample("A few words. " * 10), sample("A few words. " * 200)
    words, lines = GilotConfig(units="word"), GilotConfig(units="line")
    assert estimated_cost(long, words) > 100 * estimated_cost(short, words)
    assert estimated_cost(long, lines) < estimated_cost(long, words)
    assert estimated_cost(long, GilotConfig(units="auto", unit_budget=1000)) == 1000
    assert estimated_cost(short, GilotConfig(units={"regex": "x"})) > 0
