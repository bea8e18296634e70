"""What must hold within a record beyond its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gilot_plugin.artifacts.jsontext import field_path, non_finite_fields
from gilot_plugin.artifacts.records import CHECKSUM_FIELD, checksum, prompt_text, text_of
from gilot_plugin.artifacts.schemas import schema_problems, shown

#: Probabilities are written as the model's float32 gives them.
_PROBABILITY_TOLERANCE = 1e-4


def record_problems(record: Any) -> Iterator[str]:
    """Say what is wrong with a record.

    Args:
        record: As read from a line of JSON.

    Yields:
        One sentence a problem, safe to print: numbers that are not finite, broken rules of the schema, a
        checksum that does not match, then, if the schema holds, contradictions between the fields.
    """
    # JSON has no NaN, but Python's reader takes it, and 1e999 reads as infinity everywhere.
    for path, value in non_finite_fields(record):
        yield f"{path}: {value} is not a finite number"
    broken = False
    for reason in schema_problems(record, "record"):
        broken = True
        yield reason
    claimed = record.get(CHECKSUM_FIELD) if isinstance(record, Mapping) else None
    if isinstance(claimed, str) and claimed != checksum(record):
        yield "edited: the checksum does not match"
    if not broken and record["status"] == "ok":
        try:
            yield from _contradictions(record)
        except OverflowError:
            yield "holds a whole number that is too large to reckon with"


def _contradictions(record: Mapping[str, Any]) -> Iterator[str]:
    tokens, units, target = record["prompt_tokens"], record["units"], record["target"]
    spans_broken = False
    for reason in _span_problems(tokens):
        spans_broken = True
        yield reason
    text = None if spans_broken else prompt_text(record)
    # Units count on through what the model said before what is explained.
    said = _said_before(record)
    if text is not None:
        shift = len(text)
        text += text_of((one["text"], one["start"], one["end"]) for one in said)
        said = [{"start": one["start"] + shift, "end": one["end"] + shift} for one in said]
    yield from _unit_problems(units, [*tokens, *said], text)
    for method, scores in record["scores"].items():
        if len(scores) != len(units):
            yield f"{field_path(['scores', method])}: {len(scores)} scores for {len(units)} units"
    yield from _position_problems(record, len(units))
    yield from _estimate_problems(record, len(units))
    if len(record["flows"]) != len(units):
        yield f"flows: {len(record['flows'])} lists for {len(units)} units"
    for index, flows in enumerate(record["flows"]):
        moved = sum(flow["mass"] for flow in flows)
        if moved > 1 + _PROBABILITY_TOLERANCE:
            yield f"flows[{index}]: the masses sum to {moved:.6g}, more than all there is"
    yield from _bound_problems(record["diagnostics"].get("transport_bounds", ()), len(units))
    yield from _coarse_problems(record.get("coarse_units", ()), units)
    for method in record["diagnostics"].get("failed_methods", {}):
        if method in record["scores"]:
            yield f"{field_path(['diagnostics', 'failed_methods', method])}: the method has scores"
    kind = "choices" if target["kind"] == "choices" else "hypotheses"
    total = sum(outcome["probability"] for outcome in target[kind])
    for index, choice in enumerate(target.get("choices", ())):
        unscored, tokens = choice.get("unscored", 0), len(choice["token_ids"])
        if unscored >= max(1, tokens):
            yield f"target.choices[{index}].unscored: {unscored} of {tokens} tokens leaves none to score"
    # Written so that NaN fails, too.
    if not abs(total - 1) <= _PROBABILITY_TOLERANCE:
        yield f"target.{kind}: the probabilities sum to {total:.6g}, not 1"


def _span_problems(tokens: Sequence[Mapping[str, Any]], name: str = "prompt_tokens") -> Iterator[str]:
    """Spans lie side by side from character 0; pieces of one character repeat the span before."""
    previous: Mapping[str, Any] = {"start": 0, "end": 0}
    for index, token in enumerate(tokens):
        field, text, start, end = f"{name}[{index}]", token["text"], token["start"], token["end"]
        follows = start == previous["end"]
        if not follows and (start, end) != (previous["start"], previous["end"]):
            yield f"{field}: starts at character {start}, but the token before it ends at {previous['end']}"
        elif not follows and text != previous["text"]:
            yield f"{field}.text: {shown(text)} is not that of the token before it, which has the same span"
        if end - start != len(text):
            yield f"{field}: spans characters {start} to {end}, but its text has {len(text)}"
        previous = token


def _said_before(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Tokens of the answer before what is explained."""
    answer = record.get("answer") or {"tokens": [], "window": []}
    return list(answer["tokens"][: min(answer["window"], default=0)])


def _unit_problems(
    units: Sequence[Mapping[str, Any]], tokens: Sequence[Mapping[str, Any]], text: str | None
) -> Iterator[str]:
    """Units are runs of tokens, in order and apart; ``text`` is None where the tokens' spans are broken."""
    previous_end = 0
    for index, unit in enumerate(units):
        start, end = unit["start_token"], unit["end_token"]
        if not start < end:
            yield f"units[{index}]: tokens {start} to {end} are none"
        elif end > len(tokens):
            yield f"units[{index}].end_token: {end} is past the prompt's {len(tokens)} tokens"
        elif text is not None:
            covered = text[tokens[start]["start"] : tokens[end - 1]["end"]]
            if unit["text"] != covered:
                yield f"units[{index}].text: {shown(unit['text'])}, but its tokens cover {shown(covered)}"
        if start < previous_end:
            yield f"units[{index}]: starts at token {start}, within or before the unit before it"
        previous_end = max(previous_end, end)


def _position_problems(record: Mapping[str, Any], units: int) -> Iterator[str]:
    """The window lies in the answer; every unit has a number for each of its positions."""
    answer = record.get("answer")
    if answer is not None:
        window, tokens = answer["window"], len(answer["tokens"])
        if window != sorted(set(window)):
            yield "answer.window: is not ascending"
        elif window and window[-1] >= tokens:
            yield f"answer.window: {window[-1]} is past the answer's {tokens} tokens"
        yield from _span_problems(answer["tokens"], "answer.tokens")
    for measure, rows in record.get("step_scores", {}).items():
        field = field_path(["step_scores", measure])
        if len(rows) != units:
            yield f"{field}: {len(rows)} lists for {units} units"
        if len(set(map(len, rows))) > 1:
            yield f"{field}: not all lists have as many positions"


def _estimate_problems(record: Mapping[str, Any], units: int) -> Iterator[str]:
    """Intervals go with scores; ties and pairs name units that there are."""
    for method, rows in record.get("intervals", {}).items():
        field = field_path(["intervals", method])
        if len(rows) != units:
            yield f"{field}: {len(rows)} intervals for {units} units"
        if any(lower > upper for lower, upper in rows):
            yield f"{field}: a lower end is above its upper one"
    for index, group in enumerate((record.get("scheme") or {}).get("tied", ())):
        if any(unit >= units for unit in group):
            yield f"scheme.tied[{index}]: {max(group)} is no number of the {units} units"
    for index, pair in enumerate(record.get("interactions", ())):
        first, second = pair["units"]
        lower, upper = pair["interval"]
        if not first < second < units:
            yield f"interactions[{index}].units: {first}, {second} are no two of the {units} units in order"
        if lower > upper:
            yield f"interactions[{index}].interval: {lower:.6g} is above {upper:.6g}"


def _bound_problems(bounds: Sequence[Sequence[float]], units: int) -> Iterator[str]:
    if len(bounds) not in (0, units):
        yield f"diagnostics.transport_bounds: {len(bounds)} intervals for {units} units"
    for index, (lower, upper) in enumerate(bounds):
        if lower > upper:
            yield f"diagnostics.transport_bounds[{index}]: {lower:.6g} is above {upper:.6g}"


def _coarse_problems(
    coarse: Sequence[Mapping[str, Any]], units: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """A unit that was cut further ends where units do, and holds several."""
    starts, ends = ({unit[edge] for unit in units} for edge in ("start_token", "end_token"))
    for index, entry in enumerate(coarse):
        start, end = entry["unit"]["start_token"], entry["unit"]["end_token"]
        held = sum(start <= unit["start_token"] and unit["end_token"] <= end for unit in units)
        if start not in starts or end not in ends or held < 2:
            yield f"coarse_units[{index}]: tokens {start} to {end} are not those of several units"
