"""A sample's heat map and what belongs to it as static HTML, for places that run no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from markupsafe import escape

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.reports.estimates import (
    pair_words,
    pairs_of,
    quality_words,
    rank_words,
    speaks_for,
    tied_units,
)
from gilot_plugin.reports.heat import answer_pieces
from gilot_plugin.reports.html.packing import shown
from gilot_plugin.reports.html.samples import sample_view
from gilot_plugin.reports.palette import MAX_LEVEL, heat_levels
from gilot_plugin.reports.wording import noise_words

#: Bytes of markup around a piece that is a unit, at most.
_MARKUP = 64
#: Characters of a piece, where the prompt does not fit as a whole, and of other texts.
_PIECE, _TEXT = 160, 200
#: Pieces of an answer, which is one explained run in nearly all cases.
_RUNS = 9
#: Units around which a prompt that does not fit is shown.
_KEPT = 8
_UNITS, _OUTCOMES, _METHODS, _PAIRS = 5, 4, 6, 3


class Span(NamedTuple):
    """A piece of the prompt as it is drawn.

    Attributes:
        before: White space before it, which has no ground.
        text: Its characters.
        after: White space after it.
        ground: Class of its ground; empty where its score is hardly anything, or it is no unit.
        title: Its score in words; empty where it is no unit.
        gap: Whether it only says what was left out here.
    """

    before: str
    text: str
    after: str
    ground: str
    title: str
    gap: bool = False


def static_sample(record: Record, budget: int, method: str | None = None) -> dict[str, Any]:
    """What the macros of ``static.html`` ask for.

    Args:
        record: The sample.
        budget: Bytes that the heat map may take. A prompt that takes more is shown around the units with the
            largest scores.
        method: Whose scores are drawn; by default the record's own.
    """
    view = sample_view(record, None)
    told: dict[str, Any] = {
        "title": shorten(f"{view['title'][0]} · document {view['title'][1]}"),
        "correct": view["correct"],
        "metrics": shorten(" · ".join(view["metrics"])),
        "model": shorten(view["model"]),
        "status": view["status"],
        "reason": shorten(view["reason"] or ""),
        "top": "",
    }
    method = method or record.method
    if record.status != "ok" or method is None or method not in record.scores:
        return told
    scores = record.scores[method]
    levels = heat_levels(scores)
    ranked = sorted(range(len(scores)), key=lambda index: -abs(scores[index]))
    negative = any(score < 0 for score in scores) or speaks_for(record, method) is not None
    methods = (method, *(name for name in record.scores if name != method))[:_METHODS]
    return told | {
        "method": method,
        "methods": [shorten(name, 40) for name in methods],
        "largest": number(abs(scores[ranked[0]])) if ranked and scores[ranked[0]] else "",
        "negative": negative,
        "speaks": speaks_for(record, method) or "",
        "scale": [_ground(level) for level in range(-MAX_LEVEL if negative else 0, MAX_LEVEL + 1)],
        "spans": list(_spans(view["pieces"], scores, levels, budget)),
        "top": " ".join(
            quoted(shorten(record.units[index].text.strip(), 40)) for index in ranked[:3] if scores[index]
        ),
        "units": [_unit(record, index, methods, view) for index in ranked[:_UNITS]],
        "tied": bool(tied_units(record, method)),
        "pairs": [
            {
                "first": quoted(shorten(record.units[pair.units[0]].text.strip(), 40)),
                "second": quoted(shorten(record.units[pair.units[1]].text.strip(), 40)),
                "words": pair_words(pair),
            }
            for pair in pairs_of(record, method)[:_PAIRS]
        ],
        "notes": [
            shorten(words) for words in (noise_words(record, method), quality_words(record, method)) if words
        ],
        "answer": _answer(record),
        **_outcomes(view),
    }


def _answer(record: Record) -> list[dict[str, Any]]:
    """What the model said: each run of explained tokens is one piece, and marked."""
    if record.answer is None:
        return []
    runs = groupby(answer_pieces(record), key=lambda piece: bool(piece.units))
    return [
        {"text": shorten("".join(piece.text for piece in pieces), _PIECE), "marked": marked}
        for marked, pieces in runs
    ][:_RUNS]


def _unit(record: Record, index: int, methods: Sequence[str], view: Mapping[str, Any]) -> dict[str, Any]:
    unit = record.units[index]
    flows = view["flows"][index]
    return {
        "text": quoted(shorten(unit.text)),
        "segment": shorten(unit.segment, 40),
        "place": rank_words(record, methods[0])[index],
        "scores": [number(record.scores[name][index]) for name in methods],
        "flow": " → ".join(quoted(shorten(end, 40)) for end in flows[0][:2]) + f" {number(flows[0][2])}"
        if flows
        else "",
    }


def _outcomes(view: Mapping[str, Any]) -> dict[str, Any]:
    outcomes = view.get("outcomes", ())
    likeliest = sorted(outcomes, key=lambda outcome: -outcome["probability"])
    response = view.get("response")
    return {
        "kind": view.get("kind"),
        "followed": quoted(shorten(outcomes[0]["text"])) if view.get("followed") else "",
        "outcomes": [
            {
                "text": quoted(shorten(outcome["text"])),
                "probability": number(outcome["probability"]),
                "gold": outcome["gold"],
            }
            for outcome in likeliest[:_OUTCOMES]
        ],
        "more_outcomes": max(0, len(outcomes) - _OUTCOMES),
        "response": quoted(shorten(response)) if response else "",
    }


def _spans(
    pieces: Sequence[tuple[str, Sequence[int]]],
    scores: Sequence[float],
    levels: Sequence[int],
    budget: int,
) -> Iterator[Span]:
    strongest = [max(units, key=lambda unit: abs(scores[unit]), default=None) for _, units in pieces]
    texts = [text for text, _ in pieces]
    kept = [True] * len(texts)
    if sum(map(_size, texts)) > budget:
        texts = [shorten(text, _PIECE) for text in texts]
        sizes = [abs(scores[unit]) if unit is not None else -1.0 for unit in strongest]
        centres = sorted(range(len(texts)), key=lambda index: -sizes[index])[:_KEPT]
        kept = _around(centres, [_size(text) for text in texts], budget)
    for is_kept, run in groupby(range(len(texts)), key=kept.__getitem__):
        indices = list(run)
        if not is_kept:
            characters = sum(len(pieces[index][0]) for index in indices)
            yield Span("", f" […  {characters:,} characters …] ", "", "", "", gap=True)
            continue
        for index in indices:
            unit = strongest[index]
            if unit is None:
                yield Span("", texts[index], "", "", "")
            else:
                yield Span(*_core(texts[index]), _ground(levels[unit]), number(scores[unit]))


def _around(centres: Sequence[int], sizes: Sequence[int], budget: int) -> list[bool]:
    """Which pieces are kept: those within the widest reach of the centres that the budget allows."""

    def within(reach: int) -> list[bool]:
        kept = [False] * len(sizes)
        for centre in centres:
            for index in range(max(0, centre - reach), min(len(sizes), centre + reach + 1)):
                kept[index] = True
        return kept

    low, high = 0, len(sizes)
    while low < high:
        middle = (low + high + 1) // 2
        if sum(size for size, kept in zip(sizes, within(middle), strict=True) if kept) <= budget:
            low = middle
        else:
            high = middle - 1
    return within(low)


def _size(text: str) -> int:
    return len(str(escape(text)).encode()) + _MARKUP


def _core(text: str) -> tuple[str, str, str]:
    """A unit apart from the white space around it; one of white space alone is made visible."""
    core = text.strip()
    if not core:
        signs = text.replace("\n", "↵\n").replace("\t", "⇥\t")
        return "", signs if signs != text else f"␣{text[1:]}", ""
    before, _, after = text.partition(core)
    return before, core, after


def _ground(level: int) -> str:
    """Class of a level's ground, as in ``heat.css``."""
    return f"{'p' if level > 0 else 'n'}{abs(level)}" if level else ""


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


def quoted(text: str) -> str:
    """A text of one line, in quotation marks."""
    signs = text.replace("\n", "↵").replace("\t", "⇥")
    return f"“{signs}”"


def shorten(text: str, characters: int = _TEXT) -> str:
    """A text as pages show it, without its middle where it is longer."""
    if len(text) > characters:
        half = (characters - 3) // 2
        text = f"{text[:half]} … {text[-half:]}"
    return shown(text)
