"""What pages know of each sample: a row of a list, its heat map, what the model would say."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from gilot_plugin.analysis.segments import dominant_segment, segment_shares
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.artifacts.verdicts import metric_words
from gilot_plugin.attribution.types import FIXED_SEGMENTS, Hypothesis
from gilot_plugin.reports.estimates import speaks_for
from gilot_plugin.reports.heat import heat_pieces
from gilot_plugin.reports.html.packing import rounded, shown
from gilot_plugin.reports.wording import noise_words

_EXCERPT = 140
_TOP_UNITS = 4
_FLOWS = 6


def sample_link(record: Record) -> str:
    """What follows ``#`` in a link to the sample; it stays the same when the page is made again."""
    return f"{record.task}/{record.doc_id}/{record.prompt_hash[:8]}"


def list_row(record: Record, method: str | None) -> dict[str, Any]:
    """What the list of samples shows and filters by."""
    scores = record.scores.get(method or "", ())
    ranked = sorted(range(len(scores)), key=lambda index: -abs(scores[index]))[:_TOP_UNITS]
    margin = record.target.margin if record.target is not None else None
    return {
        "link": sample_link(record),
        "task": record.task,
        "doc": record.doc_id,
        "status": record.status,
        "correct": record.correct,
        "margin": None if margin is None else rounded(margin),
        "segment": dominant_segment(record, method) if scores else None,
        "excerpt": _excerpt(record),
        "top": [shown(record.units[index].text.strip()) for index in ranked if scores[index]],
        "largest": rounded(max(map(abs, scores), default=0.0)),
    }


def search_text(record: Record) -> str:
    """Where the list's search looks: the prompt and the answer, in lower case."""
    response = record.target.response if record.target is not None else None
    return f"{record.prompt}\n{response or ''}".lower()


def sample_view(record: Record, sample: Mapping[str, Any] | None) -> dict[str, Any]:
    """What every page shows of a sample.

    Args:
        record: The record.
        sample: As lm-eval logged it; None if it did not.
    """
    view: dict[str, Any] = {
        "link": sample_link(record),
        "title": [record.task, record.doc_id],
        "status": record.status,
        "reason": None if record.reason is None else shown(record.reason),
        "model": record.model,
        "correct": record.correct,
        "metrics": [shown(words) for words in metric_words(record.metrics)],
        "facts": _facts(record),
        "document": None,
        "answers": None,
        "target_text": None,
    }
    if sample is not None:
        view["document"] = shown(json.dumps(sample.get("doc"), indent=2, ensure_ascii=False))
        view["answers"] = shown(json.dumps(sample.get("filtered_resps"), ensure_ascii=False))
        view["target_text"] = shown(str(sample.get("target", "")))
    if record.status == "ok":
        view |= heat_view(record) | _outcomes(record)
    return view


def heat_view(record: Record) -> dict[str, Any]:
    """What a heat map is drawn from."""
    levels_differ = len({unit.level for unit in record.units}) > 1
    return {
        "pieces": [[shown(text), list(units)] for text, units in heat_pieces(record)],
        "units": [
            [shown(unit.text), unit.segment, unit.level if levels_differ else ""] for unit in record.units
        ],
        "method": record.method,
        "noise": {name: list(below) for name in record.scores if (below := record.below_floor(name))},
        "signed": {name: words for name in record.scores if (words := speaks_for(record, name))},
        "scores": {name: list(map(rounded, values)) for name, values in record.scores.items()},
        "flows": [
            [
                [shown(flow.from_token), shown(flow.to_token), rounded(flow.mass), rounded(flow.cost)]
                for flow in flows[:_FLOWS]
            ]
            for flows in record.flows
        ],
        "shares": {
            method: {name: rounded(share) for name, share in segment_shares(record, method).items()}
            for method in record.scores
        },
    }


def _outcomes(record: Record) -> dict[str, Any]:
    target = record.target
    if target is None:
        return {}
    return {
        "kind": target.kind,
        "followed": target.followed,
        "outcomes": [
            {
                "text": shown(outcome.text),
                "probability": rounded(outcome.probability),
                "logprob": rounded(outcome.logprob) if math.isfinite(outcome.logprob) else None,
                "ended": isinstance(outcome, Hypothesis) and outcome.ended,
                "gold": index in target.gold,
            }
            for index, outcome in enumerate(target.outcomes)
        ],
        "margin": None if target.margin is None else rounded(target.margin),
        "response": None if target.response is None else shown(target.response),
    }


def _facts(record: Record) -> list[list[str]]:
    """How it was computed, as names and values in words."""
    known = record.diagnostics
    facts = [
        ["request type", record.request_type],
        ["prompt", f"{len(record.tokens):,} tokens, {len(record.units):,} units"],
    ]
    if cut := known.get("truncated_tokens"):
        facts.append(["cut off on the left", f"{cut:,} tokens that the model never saw"])
    for name, words in _DIAGNOSTICS.items():
        if name in known:
            facts.append([words, f"{known[name]:.3g}"])
    if "model_tokens" in known:
        facts.append(["token positions through the model", f"{known['model_tokens']:,}"])
    if "total" in known.get("seconds", {}):
        facts.append(["time", f"{known['seconds']['total']:.3g} s"])
    facts += [[f"no scores by {method}", reason] for method, reason in record.failed_methods.items()]
    facts += [["noise", words] for method in record.scores if (words := noise_words(record, method))]
    if known.get("recomputed"):
        facts.append(["no cache", str(known["recomputed"])])
    facts += [["doc_hash", record.doc_hash], ["prompt_hash", record.prompt_hash]]
    return [[name, shown(value)] for name, value in facts]


_DIAGNOSTICS = {
    "outcome_entropy": "entropy of the outcome (nats)",
    "outside_support": "probability outside the transport problem",
    "transport_gap": "width of the certified interval of a cost",
}


def _excerpt(record: Record) -> str:
    """The beginning of what was asked: the question if it is known, else all that is no template."""
    asked = [unit.text for unit in record.units if unit.segment == "question"]
    texts = asked or [unit.text for unit in record.units if unit.segment not in FIXED_SEGMENTS]
    words = " ".join("".join(texts[: _EXCERPT * 2]).split()) or " ".join(record.prompt[:1000].split())
    return shown(words if len(words) <= _EXCERPT else words[: _EXCERPT - 1] + "…")
