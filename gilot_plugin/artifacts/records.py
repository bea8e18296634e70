"""The record of one sample, as it stands in ``attributions_<task>_<date>.jsonl``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gilot_plugin.artifacts import jsontext
from gilot_plugin.artifacts.models import SCHEMA_VERSION, RecordedTarget, RecordFields, Status
from gilot_plugin.artifacts.values import empty_of, field_names, written
from gilot_plugin.attribution.types import Attribution

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


_IDENTITY = tuple(field.name for field in dataclasses.fields(SampleIdentity))

#: What an attribution has by the same names, but for its tokens.
_MEASURED = tuple(
    name
    for name in field_names(RecordFields)
    if name not in (*_IDENTITY, CHECKSUM_FIELD, "schema_version", "status", "reason", "target")
    and name not in ("config_hash", "model")
)


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
    outcomes = "choices" if attribution.choices else "hypotheses"
    explained[outcomes] = written(RecordedTarget, outcomes, getattr(attribution, outcomes))
    body = {
        name: written(RecordFields, name, getattr(attribution, "tokens" if name == "prompt_tokens" else name))
        for name in _MEASURED
    }
    return _record(
        identity,
        status="ok",
        reason=None,
        body={**body, "target": explained},
        config_hash=config_hash,
        model=model,
    )


def unattributed_record(
    identity: SampleIdentity, status: Status, reason: str, *, config_hash: str, model: str
) -> dict[str, Any]:
    """Record of a chosen sample that was skipped or that failed, with the reason in words."""
    body = {name: empty_of(RecordFields, name) for name in (*_MEASURED, "target")}
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
        **{name: getattr(identity, name) for name in _IDENTITY},
        **body,
        "metrics": jsontext.plain(identity.metrics),
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "config_hash": config_hash,
        "model": model,
    }
    if reason is not None:
        values["reason"] = reason
    ordered = {name: values[name] for name in field_names(RecordFields) if name in values}
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
