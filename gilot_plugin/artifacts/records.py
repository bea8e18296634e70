"""The record of one sample, as it stands in ``attributions_<task>_<date>.jsonl``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gilot_plugin.artifacts import jsontext
from gilot_plugin.artifacts.models import SCHEMA_VERSION, RecordFields, Status
from gilot_plugin.attribution.types import Attribution, Choice

#: What identifies a sample of a run: task, doc_id, doc_hash, prompt_hash, target_hash.
RecordKey = tuple[str, int, str, str, str]

#: Field that holds the checksum of all others.
CHECKSUM_FIELD = "record_sha256"


@dataclass(frozen=True, slots=True)
class SampleIdentity:
    """What joins a record to lm-eval's own sample.

    Attributes:
        task: Name of the task.
        doc_id: lm-eval's number of the document.
        doc_hash: lm-eval's hash of the document.
        prompt_hash: lm-eval's hash of the prompt text.
        target_hash: lm-eval's hash of the target.
        request_type: The task's output type.
        metrics: The sample's metrics as lm-eval computed them, by ``"metric,filter"``.
    """

    task: str
    doc_id: int
    doc_hash: str
    prompt_hash: str
    target_hash: str
    request_type: str
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> RecordKey:
        """What :func:`record_key` says of the sample's record."""
        return self.task, self.doc_id, self.doc_hash, self.prompt_hash, self.target_hash

    @property
    def plain_metrics(self) -> Any:
        """The metrics as they stand in the record."""
        return json.loads(jsontext.dumps(jsontext.plain(self.metrics)))


def attributed_record(
    identity: SampleIdentity,
    attribution: Attribution,
    *,
    target: Mapping[str, Any],
    config_hash: str,
    model: str,
) -> dict[str, Any]:
    """Record of a sample that was attributed.

    Args:
        identity: Which sample.
        attribution: Its attribution.
        target: What is known of the target beside the attribution, e.g. the model's response or the gold
            choice.
        config_hash: Of the settings, which the manifest has in full.
        model: Name of the model.

    Returns:
        A mapping that is strict JSON, in the order of the schema. Metrics that are NaN or infinite stand in
        it as text, see :func:`gilot_plugin.artifacts.jsontext.plain`.

    Raises:
        ArtifactError: A number of the attribution is NaN or infinite; the message names it.
    """
    explained: dict[str, Any] = {"kind": attribution.target, **jsontext.plain(target)}
    if attribution.choices:
        explained["choices"] = [_choice(choice) for choice in attribution.choices]
    else:
        explained["hypotheses"] = [dataclasses.asdict(hypothesis) for hypothesis in attribution.hypotheses]
    return _record(
        identity,
        status="ok",
        reason=None,
        body={
            "prompt_tokens": [dataclasses.asdict(token) for token in attribution.tokens],
            "units": [dataclasses.asdict(unit) for unit in attribution.units],
            "target": explained,
            "scores": {name: list(values) for name, values in attribution.scores.items()},
            "answer": attribution.answer and dataclasses.asdict(attribution.answer),
            "step_scores": dict(attribution.step_scores),
            "intervals": dict(attribution.intervals),
            "scheme": attribution.scheme and dataclasses.asdict(attribution.scheme),
            "interactions": [dataclasses.asdict(pair) for pair in attribution.interactions],
            "flows": [
                [
                    {"from": flow.from_token, "to": flow.to_token, "mass": flow.mass, "cost": flow.cost}
                    for flow in flows
                ]
                for flows in attribution.flows
            ],
            "total_flows": [
                {"from": source, "to": target, "mass": mass, "cost": cost, "units": units}
                for source, target, mass, cost, units in attribution.total_flows
            ],
            "coarse_units": [dataclasses.asdict(coarse) for coarse in attribution.coarse_units],
            "diagnostics": dataclasses.asdict(attribution.diagnostics),
        },
        config_hash=config_hash,
        model=model,
    )


def unattributed_record(
    identity: SampleIdentity, status: Status, reason: str, *, config_hash: str, model: str
) -> dict[str, Any]:
    """Record of a chosen sample that was skipped or that failed, with the reason in words."""
    body: dict[str, Any] = {
        "prompt_tokens": [],
        "units": [],
        "target": None,
        "scores": {},
        "answer": None,
        "step_scores": {},
        "intervals": {},
        "scheme": None,
        "interactions": [],
        "flows": [],
        "total_flows": [],
        "coarse_units": [],
        "diagnostics": {},
    }
    return _record(identity, status=status, reason=reason, body=body, config_hash=config_hash, model=model)


def _record(
    identity: SampleIdentity,
    *,
    status: Status,
    reason: str | None,
    body: Mapping[str, Any],
    config_hash: str,
    model: str,
) -> dict[str, Any]:
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "task": identity.task,
        "doc_id": identity.doc_id,
        "doc_hash": identity.doc_hash,
        "prompt_hash": identity.prompt_hash,
        "target_hash": identity.target_hash,
        "request_type": identity.request_type,
        "status": status,
        **body,
        "metrics": jsontext.plain(identity.metrics),
        "config_hash": config_hash,
        "model": model,
    }
    if reason is not None:
        values["reason"] = reason
    assert values.keys() < RecordFields.model_fields.keys()
    ordered = {name: values[name] for name in RecordFields.model_fields if name in values}
    # Through JSON once, so that what Python callers see is what stands on disk: lists, no tuples.
    record: dict[str, Any] = json.loads(jsontext.dumps(ordered))
    record[CHECKSUM_FIELD] = checksum(record)
    return record


def record_key(record: Mapping[str, Any]) -> RecordKey:
    """What identifies the record's sample."""
    return (
        record["task"],
        record["doc_id"],
        record["doc_hash"],
        record["prompt_hash"],
        record["target_hash"],
    )


def failed_methods(record: Mapping[str, Any]) -> Mapping[str, str]:
    """Why methods that were asked for have no scores, by their names."""
    diagnostics = record.get("diagnostics")
    found = diagnostics.get("failed_methods") if isinstance(diagnostics, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def is_finished(record: Mapping[str, Any]) -> bool:
    """Whether nothing of the record is tried again when its run is resumed: nothing in it failed."""
    return record.get("status") in ("ok", "skipped") and not failed_methods(record)


def _choice(choice: Choice) -> dict[str, Any]:
    """A choice that the model cannot give at all has a log-likelihood that JSON has no number for: null."""
    return {name: None if value == -math.inf else value for name, value in dataclasses.asdict(choice).items()}


def checksum(record: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of all fields but the checksum itself."""
    content = {key: value for key, value in record.items() if key != CHECKSUM_FIELD}
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def prompt_text(record: Mapping[str, Any]) -> str:
    """The decoded prompt, put together from its tokens."""
    return text_of((token["text"], token["start"], token["end"]) for token in record["prompt_tokens"])


def text_of(tokens: Iterable[tuple[str, int, int]]) -> str:
    """The text of tokens (text, first character, one past the last); pieces of one character count once."""
    pieces: list[str] = []
    reached = 0
    for text, start, end in tokens:
        if start == reached:
            pieces.append(text)
            reached = end
    return "".join(pieces)
