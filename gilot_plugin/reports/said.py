"""What the model said of an explained sample, or would say, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich.text import Text

from gilot_plugin.artifacts.models import RecordedTarget
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.attribution.types import ExplainedAnswer, Flips, Hypothesis
from gilot_plugin.reports.heat import answer_pieces
from gilot_plugin.reports.lines import Lines
from gilot_plugin.reports.positions import behind_tokens

#: Tokens of an answer that are told, and units of each.
_TOKENS, _BEHIND = 8, 3
#: Units that are named without which another answer comes out.
_FLIPS = 4
#: Characters that are kept of each end of what was not explained.
_AROUND = 160


def said_lines(lines: Lines, record: Record, method: str) -> Iterator[Text]:
    """What the probability is spread over, and the answer with what is behind its tokens.

    Args:
        lines: What makes them.
        record: One whose status is ok.
        method: Whose scores count.
    """
    target, answer = record.target, record.answer
    if target is None:
        return
    if answer is None or not target.followed:
        yield from _outcomes(lines, target)
    if answer is not None:
        yield from _answer(lines, record, answer, method)
    if record.flips is not None:
        yield from _flips(lines, record, record.flips)


def _outcomes(lines: Lines, target: RecordedTarget) -> Iterator[Text]:
    outcomes = target.outcomes
    title = "the model's choice" if target.choices else "the model would say"
    yield Text("explained of the answer" if target.followed else title, "bold")
    cells = max(20, lines.console.width - 24)
    for index in sorted(range(len(outcomes)), key=lambda index: -outcomes[index].probability):
        outcome = outcomes[index]
        ended = isinstance(outcome, Hypothesis) and outcome.ended
        notes = (ended and "ends here", index in target.gold and "gold")
        note = "".join(f" {lines.glyphs.dot} {words}" for words in notes if words)
        share = "" if target.followed else f"{outcome.probability:.3f}  "
        yield Text(f"  {share}{lines.quoted(outcome.text, cells)}{note}", overflow="fold")
    if target.margin is not None:
        yield lines.line(f"  margin: {target.margin:.4g} nats")
    if target.response is not None:
        yield lines.line("  response: ").append(lines.quoted(target.response, cells))


def _flips(lines: Lines, record: Record, flips: Flips) -> Iterator[Text]:
    """What comes out when the model answers anew without each unit."""
    changed = [index for index, flipped in enumerate(flips.changed) if flipped]
    yield Text("answered anew without one unit", "bold").append(
        f", another answer comes out for {len(changed)} of {len(flips.into)} ({flips.rate:.0%})",
        "dim not bold",
    )
    was = _came_out(lines, flips.answer)
    for index in changed[:_FLIPS]:
        unit = lines.quoted(record.units[index].text.strip(), 30)
        yield (
            lines.line("  without ")
            .append(unit)
            .append(f": {_came_out(lines, flips.into[index])}, was {was}")
        )
    if len(changed) > _FLIPS:
        yield lines.line(f"  and {len(changed) - _FLIPS} more")


def _came_out(lines: Lines, text: str | None) -> str:
    return "nothing" if text is None else str(lines.quoted(text, 20))


def _answer(lines: Lines, record: Record, answer: ExplainedAnswer, method: str) -> Iterator[Text]:
    opening, closing = lines.glyphs.opening, lines.glyphs.closing
    part = "scored" if answer.explain == "scored" and answer.reason is None else "explained"
    yield Text("the model's answer", "bold").append(
        f", the {part} part in {opening}{closing}", "dim not bold"
    )
    said = Text("  ")
    for marked, pieces in groupby(answer_pieces(record), key=lambda piece: bool(piece.units)):
        text = lines.visible("".join(piece.text for piece in pieces))
        if marked:
            said.append(f"{opening}{text}{closing}")
        else:
            # What was not explained may be a thousand tokens of reasoning.
            fits = len(text) <= 2 * _AROUND
            said.append(
                text if fits else f"{text[:_AROUND]} {lines.glyphs.ellipsis} {text[-_AROUND:]}", "dim"
            )
    yield said
    if answer.reason is not None:
        yield lines.line(f"  what was to be explained was not found, so the start is: {answer.reason}")
    for token, units, scores in behind_tokens(record, method, _TOKENS, _BEHIND):
        told = ", ".join(
            f"{lines.quoted(record.units[unit].text.strip(), 20)} {score:.2g}"
            for unit, score in zip(units, scores, strict=True)
        )
        yield Text(f"  {lines.quoted(token, 20)} hangs on {told or 'nothing'}", overflow="fold")
