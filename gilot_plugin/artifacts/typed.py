"""Records as values with names and types, for whoever reads a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from gilot_plugin.artifacts.models import Status
from gilot_plugin.artifacts.records import RecordKey, failed_methods, text_of
from gilot_plugin.artifacts.verdicts import is_correct
from gilot_plugin.attribution.types import (
    Choice,
    CoarseUnit,
    ExplainedAnswer,
    Flow,
    Hypothesis,
    Interaction,
    SchemeUse,
    Token,
    TotalFlow,
    Unit,
)
from gilot_plugin.display import Displayed, strongest
from gilot_plugin.errors import ArtifactError, one_of

#: Whose scores count where nobody says: the transport distance, else the first that there is.
DEFAULT_METHOD = "ot"


@dataclass(frozen=True)
class RecordedTarget:
    """What was explained.

    Attributes:
        kind: ``"generation"`` or ``"choices"``.
        hypotheses: Continuations of the full prompt, likeliest first; empty for choices.
        choices: The task's choices in its order; empty for generation.
        gold: Indices of the right choices.
        margin: How far the strongest right choice is ahead of the strongest other one, in nats; None where
            that means nothing.
        response: What the model answered in the evaluation; None where it was not asked to say anything.
        response_ids: Tokens that followed the prompt, thoughts that the harness strips off included; None
            where they are not known.
    """

    kind: Literal["generation", "choices"]
    hypotheses: tuple[Hypothesis, ...] = ()
    choices: tuple[Choice, ...] = ()
    gold: tuple[int, ...] = ()
    margin: float | None = None
    response: str | None = None
    response_ids: tuple[int, ...] | None = None

    @property
    def outcomes(self) -> Sequence[Choice | Hypothesis]:
        """What the probability is spread over: the choices, or else the continuations."""
        return self.choices or self.hypotheses

    @property
    def followed(self) -> bool:
        """Whether one continuation was followed alone, so that its share says nothing."""
        return not self.choices and len(self.hypotheses) == 1


@dataclass(frozen=True)
class Record(Displayed):
    """What is known of one chosen sample; fields as in :class:`gilot_plugin.artifacts.models.RecordFields`.

    Attributes:
        task: Name of the task.
        doc_id: lm-eval's number of the document.
        doc_hash: lm-eval's hash of the document.
        prompt_hash: lm-eval's hash of the prompt text.
        target_hash: lm-eval's hash of the target.
        request_type: The task's output type.
        status: ``"ok"``, ``"skipped"`` or ``"failed"``.
        reason: Why not ok, in words.
        tokens: The prompt as fed.
        units: What was taken away, in prompt order.
        target: What was explained; None unless the status is ok.
        scores: For each method, one number a unit.
        flows: For each unit, the largest transports, largest first.
        total_flows: Transports summed over the units, largest first.
        coarse_units: What was measured and then cut further.
        diagnostics: How it was computed, and how exactly.
        metrics: The sample's metrics as lm-eval computed them, by ``"metric,filter"``.
        config_hash: Of the settings, which the manifest has in full.
        model: Name of the model.
        schema_version: Of the record, see :data:`gilot_plugin.artifacts.models.READ_VERSIONS`.
        answer: What the model said, and which part of it was explained; None where that was not recorded.
        step_scores: For each measure and unit, the score at every position of the window.
        intervals: For each method and unit, where its estimated score lies.
        scheme: How scores came from coalitions; None where one unit was taken away at a time.
        interactions: The strongest pairs of units, strongest first.
    """

    task: str
    doc_id: int
    doc_hash: str
    prompt_hash: str
    target_hash: str
    request_type: str
    status: Status
    reason: str | None
    tokens: tuple[Token, ...]
    units: tuple[Unit, ...]
    target: RecordedTarget | None
    scores: Mapping[str, tuple[float, ...]]
    flows: tuple[tuple[Flow, ...], ...]
    total_flows: tuple[TotalFlow, ...]
    coarse_units: tuple[CoarseUnit, ...]
    diagnostics: Mapping[str, Any]
    metrics: Mapping[str, Any]
    config_hash: str
    model: str
    schema_version: str
    answer: ExplainedAnswer | None = None
    step_scores: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    scheme: SchemeUse | None = None
    interactions: tuple[Interaction, ...] = ()

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Record:
        """Give names and types to a valid record (see :mod:`gilot_plugin.artifacts.record_checks`)."""
        return cls(
            **{name: record[name] for name in _PLAIN},
            reason=record.get("reason"),
            tokens=tuple(Token(**token) for token in record["prompt_tokens"]),
            units=tuple(Unit(**unit) for unit in record["units"]),
            target=None if record["target"] is None else _target(record["target"]),
            scores={method: tuple(values) for method, values in record["scores"].items()},
            answer=None if (answer := record.get("answer")) is None else _answer(answer),
            step_scores={
                measure: tuple(map(tuple, rows)) for measure, rows in record.get("step_scores", {}).items()
            },
            intervals={
                method: tuple((lower, upper) for lower, upper in rows)
                for method, rows in record.get("intervals", {}).items()
            },
            scheme=None if (scheme := record.get("scheme")) is None else _scheme(scheme),
            interactions=tuple(
                Interaction(tuple(pair["units"]), pair["measure"], pair["value"], tuple(pair["interval"]))
                for pair in record.get("interactions", ())
            ),
            flows=tuple(
                tuple(Flow(flow["from"], flow["to"], flow["mass"], flow["cost"]) for flow in flows)
                for flows in record["flows"]
            ),
            total_flows=tuple(
                TotalFlow(flow["from"], flow["to"], flow["mass"], flow["cost"], flow["units"])
                for flow in record.get("total_flows", ())
            ),
            coarse_units=tuple(
                CoarseUnit(Unit(**coarse["unit"]), coarse["scores"])
                for coarse in record.get("coarse_units", ())
            ),
        )

    def __repr__(self) -> str:
        method = self.method
        if method is None:
            told = f"{self.status}: {(self.reason or '')[:120]!r}"
        else:
            scores = strongest([unit.text for unit in self.units], self.scores[method])
            told = f"{len(self.units)} units; {method}: {scores}"
        return f"Record({self.task!r}, document {self.doc_id}, {told})"

    @property
    def key(self) -> RecordKey:
        """What identifies the sample."""
        return self.task, self.doc_id, self.doc_hash, self.prompt_hash, self.target_hash

    @cached_property
    def prompt(self) -> str:
        """The prompt as fed, decoded."""
        return text_of((token.text, token.start, token.end) for token in self.tokens)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """For each unit, its first character in the prompt and one past its last."""
        return tuple(
            (self.tokens[unit.start_token].start, self.tokens[unit.end_token - 1].end) for unit in self.units
        )

    @cached_property
    def correct(self) -> bool | None:
        """Whether the answer was right by the first metric that says so; None where no metric does."""
        verdicts = (is_correct(metric, value) for metric, value in self.metrics.items())
        return next((verdict for verdict in verdicts if verdict is not None), None)

    @property
    def failed_methods(self) -> Mapping[str, str]:
        """Why methods that were asked for have no scores, by their names."""
        return failed_methods({"diagnostics": self.diagnostics})

    def floor_of(self, method: str) -> float | None:
        """What scores of a method have to exceed to be more than noise; None where that was not measured."""
        floor = (self.diagnostics.get("noise_floor") or {}).get("scores", {}).get(method)
        return None if floor is None else float(floor)

    def below_floor(self, method: str) -> tuple[int, ...]:
        """Numbers of the units whose scores cannot be told from 0, as far as that was measured."""
        floor = self.floor_of(method)
        scores = self.scores.get(method, ()) if floor is not None else ()
        return tuple(index for index, score in enumerate(scores) if floor and abs(score) <= floor)

    @property
    def method(self) -> str | None:
        """Whose scores count where nobody says; None without scores."""
        return DEFAULT_METHOD if DEFAULT_METHOD in self.scores else next(iter(self.scores), None)


def scored_methods(records: Iterable[Record]) -> tuple[str, ...]:
    """Methods that any of the records has scores by."""
    return tuple(dict.fromkeys(name for record in records for name in record.scores))


def chosen_method(records: Sequence[Record], asked: str | None = None) -> str:
    """Whose scores count: the method asked for, else :data:`DEFAULT_METHOD`, else the first there is.

    Raises:
        ArtifactError: There are scores, but none by the method asked for.
    """
    there = scored_methods(records)
    # Where all samples were skipped or failed there is no method, and no score to miss.
    if asked is not None and there and asked not in there:
        failed = [record.failed_methods[asked] for record in records if asked in record.failed_methods]
        why = f", it failed: {failed[0]}" if failed else ""
        raise ArtifactError(f"no scores by method {asked!r}{why}; there are {one_of(there)}")
    return asked or (DEFAULT_METHOD if DEFAULT_METHOD in there or not there else there[0])


_PLAIN = (
    *("task", "doc_id", "doc_hash", "prompt_hash", "target_hash", "request_type", "status"),
    *("diagnostics", "metrics", "config_hash", "model", "schema_version"),
)


def _target(target: Mapping[str, Any]) -> RecordedTarget:
    return RecordedTarget(
        kind=target["kind"],
        hypotheses=tuple(
            Hypothesis(**{**hypothesis, "token_ids": tuple(hypothesis["token_ids"])})
            for hypothesis in target.get("hypotheses", ())
        ),
        choices=tuple(
            Choice(
                **{"normalized_logprob": math.nan} | {name: _number(name, choice[name]) for name in choice}
            )
            for choice in target.get("choices", ())
        ),
        gold=tuple(target.get("gold", ())),
        margin=target.get("margin"),
        response=target.get("response"),
        response_ids=None if (ids := target.get("response_ids")) is None else tuple(ids),
    )


def _answer(answer: Mapping[str, Any]) -> ExplainedAnswer:
    tokens = tuple(Token(**token) for token in answer["tokens"])
    return ExplainedAnswer(**{**answer, "tokens": tokens, "window": tuple(answer["window"])})


def _scheme(scheme: Mapping[str, Any]) -> SchemeUse:
    return SchemeUse(scheme["name"], scheme["coalitions"], tuple(map(tuple, scheme.get("tied", ()))))


def _number(name: str, value: Any) -> Any:
    """A log-likelihood that JSON has no number for is null on disk."""
    if name == "token_ids":
        return tuple(value)
    return -math.inf if value is None else value
