"""All that a sample's page shows: its heat map, and what is behind each explained token of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.reports.estimates import (
    pair_numbers,
    pair_words,
    pairs_of,
    quality_words,
    rank_words,
    redundancy_words,
    tied_units,
)
from gilot_plugin.reports.heat import answer_pieces
from gilot_plugin.reports.html.packing import pack_matrix, rounded, shown
from gilot_plugin.reports.html.samples import sample_view

#: Flows that a record keeps of a unit: with as many, there may have been more.
_KEPT_FLOWS = 8
#: Lead from which the first of two choices is called the one that the model would make.
_LEAD = 0.02
_SIGNED = "signed_"
#: Characters of what stands above prompt and answer.
_ABOVE = 60


def report_view(record: Record, sample: Mapping[str, Any] | None) -> dict[str, Any]:
    """All that a sample's page shows.

    Args:
        record: The record.
        sample: As lm-eval logged it; None if it did not.
    """
    view = sample_view(record, sample)
    if record.status == "ok":
        view |= _answer(record) | _estimates(record)
        view["right"] = _right_answers(record, view["target_text"])
        view["without"] = _choices_without(record)
    return view


def _answer(record: Record) -> dict[str, Any]:
    pieces = answer_pieces(record)
    answer = record.answer
    explained = "explained"
    tokens: list[str] = []
    if answer is not None:
        tokens = [shown(answer.tokens[index].text) for index in answer.window]
        explained = "scored" if answer.explain == "scored" and answer.reason is None else "explained"
    return {
        "answer": [[shown(text), list(positions)] for text, positions in pieces],
        "tokens": tokens,
        "marked": explained,
        "scored": None if answer is None or answer.scored_text is None else _ending(answer.scored_text),
        "not_found": None if answer is None or answer.reason is None else shown(answer.reason),
        "steps": _steps(record, len(tokens)),
    }


def _steps(record: Record, positions: int) -> dict[str, Any]:
    """Scores of single positions, for each measure that has them for the whole window."""
    found = {
        measure: np.asarray(rows, dtype=np.float64)
        for measure, rows in record.step_scores.items()
        if positions and rows and len(rows[0]) == positions
    }
    packed = {}
    for measure, scores in found.items():
        twin = found.get(_SIGNED + measure)
        # A signed distance is the distance with a sign, so one matrix tells both.
        if twin is not None and np.allclose(abs(twin), scores, rtol=1e-6, atol=0):
            packed[measure] = {"without_sign_of": _SIGNED + measure}
        else:
            packed[measure] = pack_matrix(scores)
    return packed


def _estimates(record: Record) -> dict[str, Any]:
    methods = list(record.scores)
    return {
        "ranks": {name: list(rank_words(record, name)) for name in methods if tied_units(record, name)},
        "intervals": {
            name: [[rounded(lower), rounded(upper)] for lower, upper in rows]
            for name, rows in record.intervals.items()
        },
        "quality": {name: words for name in methods if (words := quality_words(record, name))},
        "pairs": {
            name: [
                [*pair.units, rounded(pair.value), pair_words(pair), shown(pair_numbers(pair))]
                for pair in pairs_of(record, name)
            ]
            for name in methods
        },
        "redundancy": {name: redundancy_words(pairs_of(record, name)) for name in methods},
    }


def _right_answers(record: Record, logged: str | None) -> list[str]:
    """What would have been right: the right choices, or else the task's own answer."""
    target = record.target
    if target is not None and target.choices:
        return [_beginning(target.choices[index].text) for index in target.gold]
    if not logged:
        return []
    return [_ending(logged)]


def _beginning(text: str) -> str:
    """A text in a line, without its end where it is long: choices stand in full beside the prompt."""
    line = " ".join(text.split())
    return shown(line if len(line) <= _ABOVE else f"{line[:_ABOVE]} …")


def _ending(text: str) -> str:
    """A text in a line, without its beginning where it is long: an answer comes last."""
    line = " ".join(text.split())
    return shown(line if len(line) <= _ABOVE else f"… {line[-_ABOVE:].lstrip()}")


def _choices_without(record: Record) -> list[int | None]:
    """For each unit, the number of the choice that the model would make without it, where it is another one.

    Empty where choices are not told apart by their texts, which is all that flows name them by.
    """
    choices = record.target.choices if record.target is not None else ()
    texts = [choice.text for choice in choices]
    if len(set(texts)) < max(2, len(texts)):
        return []
    before = {choice.text: choice.probability for choice in choices}
    chosen = max(before, key=before.__getitem__)
    found: list[int | None] = []
    for flows in record.flows:
        after = dict(before)
        known = len(flows) < _KEPT_FLOWS
        for flow in flows:
            known = known and {flow.from_token, flow.to_token} <= before.keys()
            after[flow.from_token] = after.get(flow.from_token, 0.0) - flow.mass
            after[flow.to_token] = after.get(flow.to_token, 0.0) + flow.mass
        first, second = sorted(after, key=after.__getitem__, reverse=True)[:2]
        other = known and first != chosen and after[first] - after[second] > _LEAD
        found.append(texts.index(first) if other else None)
    return found
