"""What is fed when units are absent."""

from __future__ import annotations

import pytest

from gilot_plugin.attribution.prompt.absence import BUILTIN_ABSENCES, AbsenceContext
from gilot_plugin.attribution.types import Unit
from gilot_plugin.backends.rows import Row

IDS = (10, 11, 12, 13)
ABSENCES = {operator.name: operator for operator in BUILTIN_ABSENCES}


def without_units(name, *spans, replace_with=None):
    context = AbsenceContext(replace_with, empty_prompt_id=99)
    return ABSENCES[name].without(IDS, tuple(Unit(*span, "", "") for span in spans), context)


def without(name, start, end, replace_with=None):
    return without_units(name, (start, end), replace_with=replace_with)


@pytest.mark.parametrize(
    ("span", "left"), [((0, 1), (11, 12, 13)), ((1, 3), (10, 13)), ((3, 4), (10, 11, 12)), ((0, 4), (99,))]
)
def test_delete(span, left):
    assert without("delete", *span) == Row(left)


def test_mask_leaves_the_tokens_where_they_are():
    assert without("mask", 0, 1) == Row(IDS, attended=(False, True, True, True))
    assert without("mask", 1, 3) == Row(IDS, attended=(True, False, False, True))


def test_mask_of_the_end_leaves_it_out():
    assert without("mask", 2, 4) == Row((10, 11))
    assert without("mask", 0, 4) == Row((99,))


def test_replace():
    assert without("replace", 1, 3, replace_with=7) == Row((10, 7, 7, 13))
    assert without("replace", 0, 4, replace_with=7) == Row((7, 7, 7, 7))


def test_replace_with_nothing():
    with pytest.raises(ValueError, match="replace_with"):
        without("replace", 1, 3)


def test_published_closes_positions_up_in_the_search_only():
    operator, context = ABSENCES["published"], AbsenceContext(None, 99)
    absent = (Unit(1, 2, "", ""),)
    attended = (True, False, True, True)
    assert operator.without(IDS, absent, context) == Row((10, 0, 12, 13), (0, 0, 1, 2), attended)
    assert operator.rescored_without(IDS, absent, context) == Row((10, 0, 12, 13), attended=attended)


@pytest.mark.parametrize("spans", [((0, 1), (2, 3)), ((2, 3), (0, 1))])
def test_several_units_in_any_order(spans):
    assert without_units("delete", *spans) == Row((11, 13))
    assert without_units("mask", *spans) == Row(IDS, attended=(False, True, False, True))
    assert without_units("replace", *spans, replace_with=7) == Row((7, 11, 7, 13))
    gone = (False, True, False, True)
    assert without_units("published", *spans) == Row((0, 11, 0, 13), (0, 0, 0, 1), gone)


def test_mask_of_several_units_leaves_out_those_that_end_the_prompt():
    assert without_units("mask", (3, 4), (1, 2)) == Row((10, 11, 12), attended=(True, False, True))
    assert without_units("mask", (3, 4), (2, 3)) == Row((10, 11))
    assert without_units("mask", (2, 4), (0, 2)) == Row((99,))


def test_neighbours_are_as_absent_as_the_unit_that_spans_both():
    for name in ABSENCES:
        apart = without_units(name, (2, 3), (1, 2), replace_with=7)
        assert apart == without(name, 1, 3, replace_with=7)


def test_which_need_positions():
    assert {name for name, operator in ABSENCES.items() if operator.needs_positions} == {"mask", "published"}
