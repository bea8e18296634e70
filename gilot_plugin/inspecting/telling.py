"""An attribution as Markdown, which inspect_ai's viewer shows beside the score."""

from __future__ import annotations

from collections.abc import Mapping

from gilot_plugin.attribution.types import Attribution, Flow
from gilot_plugin.reports.card.markdown import markdown

_UNITS = 10
#: Shares of the largest score from which a word of the prompt is set in bold, and in italics.
_BOLD, _ITALIC = 0.5, 0.2
_CHARACTERS = 4000


def explanation(attribution: Attribution, method: str, model: str) -> str:
    """What the answer hangs on: the prompt with its words marked, and those that matter most.

    Args:
        attribution: Of the sample.
        method: Whose scores are told.
        model: Name of the model that was read.
    """
    shares = unit_shares(attribution, method)
    order = sorted(range(len(shares)), key=lambda number: -shares[number])[:_UNITS]
    rows = [
        f"| {markdown(attribution.units[number].text)} | {markdown(attribution.units[number].segment)} "
        f"| {attribution.scores[method][number]:.3g} | {shares[number]:.0%} "
        f"| {_flow_words(attribution.flows[number] if attribution.flows else ())} |"
        for number in order
    ]
    parts = ", ".join(
        f"{markdown(name)} {share:.0%}" for name, share in part_shares(attribution, method).items()
    )
    return "\n".join(
        [
            f"What the answer of {markdown(model)} hangs on, by {method} (GiLOT): bold, half of the largest "
            "score or more; italic, a fifth or more.",
            "",
            marked_prompt(attribution, method),
            "",
            f"By part of the prompt: {parts or 'no score is above 0'}.",
            "",
            "| without | part | score | share | most of what moves |",
            "|---|---|---:|---:|---|",
            *rows,
        ]
    )


def marked_prompt(attribution: Attribution, method: str) -> str:
    """The explained part of the prompt, one paragraph, its words bold and italic by their scores."""
    scores = list(map(abs, attribution.scores[method]))
    largest = max(scores, default=0.0)
    pieces: list[str] = []
    for unit, score in zip(attribution.units, scores, strict=True):
        word = markdown(unit.text)
        relative = score / largest if largest else 0.0
        mark = "**" if relative >= _BOLD else "*" if relative >= _ITALIC else ""
        pieces.append(f"{mark}{word}{mark}" if word else "")
        if sum(map(len, pieces)) > _CHARACTERS:
            pieces.append("…")
            break
    return "> " + " ".join(filter(None, pieces))


def unit_shares(attribution: Attribution, method: str) -> list[float]:
    """Portion of the absolute scores on each unit; zeros where no unit has a score."""
    scores = list(map(abs, attribution.scores[method]))
    total = sum(scores)
    return [score / total if total else 0.0 for score in scores]


def part_shares(attribution: Attribution, method: str) -> Mapping[str, float]:
    """Portion on each part of the prompt, largest first; empty where no unit has a score."""
    shares: dict[str, float] = {}
    for unit, share in zip(attribution.units, unit_shares(attribution, method), strict=True):
        shares[unit.segment] = shares.get(unit.segment, 0.0) + share
    return dict(sorted(shares.items(), key=lambda item: -item[1])) if any(shares.values()) else {}


def _flow_words(flows: tuple[Flow, ...]) -> str:
    if not flows:
        return ""
    flow = flows[0]
    return f"{flow.mass:.2f} from “{markdown(flow.from_token)}” to “{markdown(flow.to_token)}”"
