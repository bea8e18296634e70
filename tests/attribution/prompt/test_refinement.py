"""Adaptive units: what matters is found at the finest level, the rest stays coarse, the budget is kept."""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution.game import Spent, Values
from gilot_plugin.attribution.prompt.refinement import LEVELS, Refinement, refine
from gilot_plugin.attribution.prompt.units import make_units
from gilot_plugin.attribution.types import Prompt, Token, Unit
from gilot_plugin.errors import PromptError

PLENTY = 10**9

#: Tokens that the model reads after each prompt.
CONTINUATION = 7


class Planted(NamedTuple):
    """A prompt, and how much each of its words matters.

    Attributes:
        prompt: Segments of lines of sentences of words, the words of one or several tokens.
        words: Tokens of each word, ``(start, end)``.
        weights: Of each word; 0 for those that do not matter.
    """

    prompt: Prompt
    words: tuple[tuple[int, int], ...]
    weights: tuple[float, ...]

    def score(self, unit: Unit) -> float:
        """What the words in the unit weigh together."""
        held = zip(self.words, self.weights, strict=True)
        return sum(
            weight for (start, end), weight in held if unit.start_token <= start and end <= unit.end_token
        )

    @property
    def important(self) -> set[tuple[int, int]]:
        return {word for word, weight in zip(self.words, self.weights, strict=True) if weight}


def planted(segments, weights):
    """``segments``: the name of each and its lines, lists of sentences, lists of word lengths."""
    pieces: list[str] = []
    names: list[str] = []
    words: list[tuple[int, int]] = []
    for name, lines in segments:
        for line in lines:
            for sentence in line:
                for length in sentence:
                    words.append((len(pieces), len(pieces) + length))
                    pieces.extend([" ab", *["cd"] * (length - 1)])
                pieces.append(".")
            pieces.append("\n")
        names.extend([name] * (len(pieces) - len(names)))
    ends = list(accumulate(map(len, pieces)))
    tokens = tuple(Token(9, piece, end - len(piece), end) for piece, end in zip(pieces, ends, strict=True))
    prompt = Prompt("".join(pieces), tokens, tuple(names))
    return Planted(prompt, tuple(words), tuple(weights[: len(words)]) + (0.0,) * (len(words) - len(weights)))


SENTENCE = st.lists(st.integers(1, 3), min_size=1, max_size=4)
LINE = st.lists(SENTENCE, min_size=1, max_size=3)
SEGMENT = st.tuples(st.sampled_from(["user", "few_shot", "template"]), st.lists(LINE, min_size=1, max_size=3))
WEIGHTS = st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0]), max_size=40)
PROMPTS = st.builds(planted, st.lists(SEGMENT, min_size=1, max_size=3), WEIGHTS)


class Run(NamedTuple):
    """What a refinement found and read."""

    units: tuple[Unit, ...]
    coarse: tuple[Unit, ...]
    rounds: list[tuple[Unit, ...]]
    spent: list[int]


class Measure(NamedTuple):
    name: str


class PlantedGame:
    """A game whose values are planted.

    Reading takes ``factor`` times what it is estimated to cost, and ``overhead`` before anything.
    """

    measures = (Measure("planted"),)

    def __init__(self, case, factor, sign, overhead):
        self.prompt, self._case, self._factor, self._sign = case.prompt, case, factor, sign
        self.rounds: list[tuple[Unit, ...]] = []
        self.totals = [overhead]

    @property
    def spent(self):
        return Spent(0, self.totals[-1], 0.0, 0.0, 0.0)

    def cost(self, absent):
        taken = sum(unit.end_token - unit.start_token for unit in absent)
        return len(self.prompt.tokens) - taken + CONTINUATION

    def read(self, coalitions):
        # The full prompt is read with the first units.
        read = [*coalitions] if self.rounds else [(), *coalitions]
        self.rounds.append(tuple(unit for (unit,) in coalitions))
        self.totals.append(self.totals[-1] + self._factor * sum(map(self.cost, read)))
        return Values(
            {"planted": np.array([[self._sign * self._case.score(unit)] for (unit,) in coalitions])}
        )


def run(case, budget=PLENTY, scope="all", factor=1, sign=1.0, overhead=0):
    """Refine by a planted game."""
    game = PlantedGame(case, factor, sign, overhead)
    asking = refine(game, Refinement(scope, budget))
    wanted = next(asking)
    try:
        while True:
            wanted = asking.send(game.read(wanted))
    except StopIteration as stop:
        found = stop.value
    return Run(found.units, found.coarse, game.rounds, game.totals[1:])


def tokens_of(units):
    return [index for unit in units for index in range(unit.start_token, unit.end_token)]


def assert_cut(case, found, scope):
    """The units partition what is in scope, and each coarse one is a union of several of them."""
    in_scope = tokens_of(make_units(case.prompt, "segment", scope))
    assert tokens_of(found.units) == in_scope
    measured = Counter(unit for units in found.rounds for unit in units)
    assert set(measured) == {*found.units, *found.coarse}
    assert set(measured.values()) <= {1}
    for unit in found.coarse:
        inside = [
            piece
            for piece in found.units
            if unit.start_token <= piece.start_token and piece.end_token <= unit.end_token
        ]
        assert len(inside) > 1
        assert tokens_of(inside) == list(range(unit.start_token, unit.end_token))
        assert all(LEVELS.index(piece.level) >= LEVELS.index(unit.level) for piece in inside)


SCOPES = st.sampled_from(["all", "content"])


@settings(deadline=None)
@given(PROMPTS, SCOPES, st.integers(0, 3000), st.sampled_from([1, 3]), st.sampled_from([0, 50]))
def test_units_partition_the_scope_and_the_budget_is_kept(case, scope, budget, factor, overhead):
    if scope == "content" and not set(case.prompt.segments) - {"template"}:
        with pytest.raises(PromptError):
            run(case, budget, scope)
        return
    found = run(case, budget, scope, factor, overhead=overhead)
    assert_cut(case, found, scope)
    assert found.rounds[0] == make_units(case.prompt, "segment", scope)
    assert found.spent[-1] <= max(budget, found.spent[0])


@settings(deadline=None)
@given(PROMPTS, st.sampled_from([1.0, -1.0]), st.sampled_from([1, 3]))
def test_with_a_large_budget_every_important_word_is_found(case, sign, factor):
    found = run(case, sign=sign, factor=factor)
    assert_cut(case, found, "all")
    spans = {(unit.start_token, unit.end_token): unit for unit in found.units}
    assert case.important <= spans.keys()
    for unit in found.coarse:
        assert case.score(unit) > 0.0
    for word in case.important:
        assert spans[word].level == "word"
    for unit in found.units:
        if unit.level == "segment":
            assert case.score(unit) == 0.0


@settings(deadline=None)
@given(PROMPTS)
def test_levels_are_those_at_which_the_units_were_cut(case):
    found = run(case)
    for unit in (*found.units, *found.coarse):
        assert unit in make_units(case.prompt, unit.level, "all") or unit.level != "segment"
        assert (
            unit.text
            == case.prompt.text[
                case.prompt.tokens[unit.start_token].start : case.prompt.tokens[unit.end_token - 1].end
            ]
        )


@settings(deadline=None)
@given(PROMPTS)
def test_nothing_is_cut_where_nothing_matters(case):
    found = run(case._replace(weights=(0.0,) * len(case.words)))
    assert found.coarse == ()
    assert found.units == make_units(case.prompt, "segment", "all")
    assert len(found.rounds) == 1


@settings(deadline=None)
@given(PROMPTS, st.integers(0, 3000), st.integers(0, 3000))
def test_a_larger_budget_cuts_no_less_at_first(case, one, other):
    less, more = sorted((one, other))
    poorer, richer = run(case, less), run(case, more)
    assert len(richer.rounds) >= min(2, len(poorer.rounds))


def test_a_unit_far_below_the_best_stays_coarse():
    case = planted([("user", [[[1, 1]]]), ("few_shot", [[[1, 1]]])], [1.0, 0.0, 0.09, 0.0])
    assert [unit.segment for unit in run(case).coarse] == ["user"]
    case = case._replace(weights=(1.0, 0.0, 0.11, 0.0))
    assert [unit.segment for unit in run(case).coarse] == ["user", "few_shot"]


def test_the_best_is_cut_before_the_others():
    case = planted([("user", [[[1, 1]]]), ("few_shot", [[[1, 1]]])], [0.4, 0.0, 1.0, 0.0])
    first, second, third = run(case).rounds
    assert len(first) == 2
    assert {unit.segment for unit in second} == {"few_shot"}
    assert {unit.segment for unit in third} == {"user"}
    together = run(case._replace(weights=(0.6, 0.0, 1.0, 0.0))).rounds
    assert len(together) == 2


def test_levels_that_do_not_cut_are_skipped():
    case = planted([("user", [[[1, 2, 1]]])], [0.0, 1.0, 0.0])
    found = run(case)
    assert [unit.level for unit in found.coarse] == ["segment"]
    assert [unit.text for unit in found.units] == [" ab", " abcd", " ab", ".", "\n"]
    assert {unit.level for unit in found.units} == {"word"}


def test_a_unit_that_cannot_be_cut_stays_as_it_is():
    tokens = (Token(9, " ab", 0, 3), Token(9, "cd", 3, 5))
    case = Planted(Prompt(" abcd", tokens, ("user",) * 2), ((0, 2),), (1.0,))
    found = run(case)
    assert found.units == (Unit(0, 2, " abcd", "user", "segment"),)
    assert found.coarse == ()


def test_what_does_not_fit_the_budget_is_passed_over_for_what_does():
    many, few = [[[1] * 4] * 5] * 3, [[[1]]]
    case = planted([("user", few), ("few_shot", many)], [11.0] + [1.0] * 60)
    budget = run(case, budget=0).spent[-1] + 450
    # The three lines of the heavier segment leave too little for the five sentences of each, or for groups of
    # them, but enough for the lighter segment's word, stop and line end.
    rounds = run(case, budget).rounds
    assert [{(unit.segment, unit.level) for unit in units} for units in rounds[1:]] == [
        {("few_shot", "line")},
        {("user", "word")},
    ]


def test_budget_of_a_prompt_that_is_one_segment():
    """Without its only segment, hardly anything is read: that says nothing of what its pieces cost."""
    case = planted([("user", [[[1] * 4]] * 5)], [0.0, 0.0, 1.0])
    length = len(case.prompt.tokens) + CONTINUATION
    found = run(case, budget=20 * length)
    assert case.important <= {(unit.start_token, unit.end_token) for unit in found.units}


def test_a_long_part_is_cut_into_groups_of_lines_where_single_lines_cost_too_much():
    """Without segments to begin with, as in a document, the words that matter are found all the same."""
    lines = [[[1] * 8] for _ in range(64)]
    weights = [0.0] * (64 * 8)
    weights[37 * 8 + 3] = 1.0
    case = planted([("user", lines)], weights)
    length = len(case.prompt.tokens)
    found = run(case, budget=30 * length)
    assert found.spent[-1] <= 30 * length < 64 * length
    assert_cut(case, found, "all")
    (best,) = [unit for unit in found.units if case.score(unit)]
    assert (best.start_token, best.end_token) == case.words[37 * 8 + 3]
    assert {unit.level for unit in found.units} == {"segment", "line", "word"}


@given(PROMPTS, st.integers(1, 4000))
@settings(deadline=None)
def test_groups_partition_what_they_are_cut_from(case, budget):
    assert_cut(case, run(case, budget=budget), "all")
