"""What stands in a record: the one place where its fields are named, described and limited.

The JSON Schema is made from these models (:mod:`gilot_plugin.artifacts.schema_files`), records are written by
their fields (:mod:`gilot_plugin.artifacts.records`) and read as them (:mod:`gilot_plugin.artifacts.typed`).
Bounds and texts are those of the schema: what holds between fields is checked in
:mod:`gilot_plugin.artifacts.record_checks`.

What an attribution consists of has types of its own, which know nothing of files. ``As`` says which of them a
field holds; where such a type and its model differ in a field, importing this module fails.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from gilot_plugin.artifacts.fields import (
    Closed,
    Natural,
    NotNegative,
    Open,
    OrAbsent,
    Probability,
    Sha256,
    TokenIds,
    TokenIndices,
    UnitIndices,
    Words,
    optional,
)
from gilot_plugin.artifacts.values import As, NullFor
from gilot_plugin.attribution.types import (
    Choice,
    CoarseUnit,
    ExplainedAnswer,
    Flips,
    Flow,
    Hypothesis,
    Interaction,
    NoiseFloor,
    SchemeUse,
    Token,
    TotalFlow,
    Unit,
)

#: Raised whenever the meaning of a field changes.
SCHEMA_VERSION: Final = "1.1"

#: Versions that can still be read. In 1.0, scores of a generation that are averaged over positions leave the
#: first one out, see :func:`gilot_plugin.artifacts.loading.without_first_position`.
READ_VERSIONS: Final = ("1.0", SCHEMA_VERSION)

Version = Literal["1.0", "1.1"]
Status = Literal["ok", "skipped", "failed"]


class TokenFields(Closed):
    """A token of the prompt."""

    id: Natural = Field(description="Id in the vocabulary.")
    text: str = Field(description="The characters of the decoded prompt that the token stands for.")
    start: Natural = Field(
        description="First character, counted in Unicode code points of the decoded prompt."
    )
    end: Natural = Field(description="One past the last character.")


class UnitFields(Closed):
    """What was taken away."""

    start_token: Natural = Field(description="Index of the first token.")
    end_token: Natural = Field(description="One past the last token.")
    text: str = Field(description="The characters that the tokens stand for.")
    segment: str = Field(
        description="The part of the prompt that the unit lies in, e.g. 'question', 'shot_1', 'template'."
    )
    level: str = optional(
        description="How coarsely the prompt was cut here: 'token', 'word', 'sentence', 'line', 'segment' or "
        "'regex'.",
    )


class HypothesisFields(Closed):
    """A continuation."""

    token_ids: TokenIds = Field(description="The continuation, with its end-of-sequence token if it ended.")
    text: str = Field(description="The decoded continuation.")
    logprob: float = Field(description="Natural logarithm of its probability given the full prompt.")
    probability: Probability
    ended: bool = Field(description="Whether it closed with an end-of-sequence token.")


class ChoiceFields(Closed):
    """One of the task's choices."""

    text: str = Field(description="The continuation that was scored.")
    token_ids: TokenIds = Field(description="Its tokens, as the harness fed them.")
    logprob: Annotated[float | None, NullFor(-math.inf)] = Field(
        description="Summed log-likelihood given the full prompt, in nats; null for a choice of "
        "probability 0."
    )
    normalized_logprob: Annotated[float | None, NullFor(-math.inf)] = optional(
        absent=math.nan, description="The same a character, in nats, as acc_norm compares it; null as above."
    )
    probability: Probability
    unscored: Natural = optional(
        description="How many of its first tokens belong to the context, where contexts differ between "
        "choices: they are fed, and their log-likelihood does not count. Absent or 0 for ordinary choices.",
    )


_TARGET = ConfigDict(
    extra="allow",
    json_schema_extra={
        "type": ["object", "null"],
        "if": {"properties": {"kind": {"const": "choices"}}, "required": ["kind"]},
        "then": {"required": ["choices"], "properties": {"choices": {"minItems": 1}}},
        "else": {"required": ["hypotheses"], "properties": {"hypotheses": {"minItems": 1}}},
        "description": "More is known of it in further fields, e.g. the model's response or the gold choice.",
    },
)


@dataclass(frozen=True, config=_TARGET)
class RecordedTarget:
    """What was explained."""

    kind: Literal["generation", "choices"] = Field(
        description="generation: what the model would say. choices: which of the task's choices it prefers."
    )
    response: OrAbsent[str] = optional(
        description="What the model answered in the evaluation, as the harness has it."
    )
    response_ids: OrAbsent[TokenIds] = optional(
        description="Tokens that followed the prompt: the answer's, after those of the thoughts that the "
        "harness strips off.",
    )
    response_doubt: OrAbsent[Words] = optional(
        description="Why the answer's tokens may be others than the model's own, in words. Absent where they "
        "are known.",
    )
    hypotheses: tuple[Annotated[Hypothesis, As(HypothesisFields)], ...] = optional(
        absent=(),
        description="The continuations that stand for everything the model might say, likeliest first.",
    )
    choices: tuple[Annotated[Choice, As(ChoiceFields)], ...] = optional(
        absent=(), description="The task's choices, in its order."
    )
    gold: tuple[Natural, ...] = optional(absent=(), description="Indices of the right choices.")
    margin: float | None = optional(
        description="How far the strongest right choice is ahead of the strongest other one, in nats. Null "
        "or absent where that means nothing.",
    )

    @property
    def outcomes(self) -> Sequence[Choice | Hypothesis]:
        """What the probability is spread over: the choices, or else the continuations."""
        return self.choices or self.hypotheses

    @property
    def followed(self) -> bool:
        """Whether one continuation was followed alone, so that its share says nothing."""
        return not self.choices and len(self.hypotheses) == 1


class FlowFields(Closed):
    """Probability that moves when a unit is absent."""

    from_token: str = Field(alias="from", description="Outcome that loses the mass.")
    to_token: str = Field(alias="to", description="Outcome that gains it.")
    mass: NotNegative = Field(description="Probability moved.")
    cost: NotNegative = Field(description="Ground cost between the two outcomes.")


class TotalFlowFields(Closed):
    """Probability that moves, over all units."""

    from_token: str = Field(alias="from", description="Outcome that loses the mass.")
    to_token: str = Field(alias="to", description="Outcome that gains it.")
    mass: NotNegative = Field(description="Probability moved, summed over the units.")
    cost: NotNegative = Field(description="Ground cost between the two outcomes.")
    units: int = Field(ge=1, description="How many units' absence moves it.")


class CoarseUnitFields(Closed):
    """A unit that was measured and then cut further."""

    unit: Annotated[Unit, As(UnitFields)]
    scores: dict[str, float] = Field(description="For each distance, its number.")


class ExplainedAnswerFields(Closed):
    """What the model said, and which part of it was explained."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "null"]})

    tokens: tuple[Annotated[Token, As(TokenFields)], ...] = Field(
        description="Its tokens as far as they were looked at. Offsets are counted in its decoded text."
    )
    window: TokenIndices = Field(
        description="Indices of the tokens whose positions were compared, ascending: a position is what its "
        "token was drawn from."
    )
    explain: Words = Field(
        description="What was asked for: 'start', 'scored', 'end', 'all' or 'regex', as in the setting "
        "explain."
    )
    scored_text: str | None = optional(
        description="What the task's filter took out of the answer, which the metric saw. Null or absent "
        "where no filter did."
    )
    reason: Words | None = optional(
        description="Why the part that was asked for could not be found and the start was explained instead."
    )


class FlipsFields(Closed):
    """What comes out of the task's filter when the model answers anew without each unit."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "null"]})

    answer: str | None = Field(
        description="What comes out of its greedy answer to the full prompt. Null where the filter finds "
        "nothing."
    )
    into: tuple[str | None, ...] = Field(description="The same without each unit, in the order of the units.")
    rate: float = Field(
        ge=0, le=1, description="Flip rate: share of the units without which something else comes out."
    )


class SchemeUseFields(Open):
    """How scores came from coalitions of absent units."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "null"]})

    name: Words = Field(description="Value of the setting scheme.")
    coalitions: Natural = Field(description="Prompts without units that were read for it.")
    tied: tuple[UnitIndices, ...] = optional(
        description="Groups of units, by their numbers, whose order the coalitions do not settle."
    )
    left_out: Natural = optional(description="How many of them had no finite value and count nowhere.")
    interrupted: bool = optional(
        description="Whether it was interrupted: the scores are what was known by then."
    )


class InteractionFields(Closed):
    """What two units are worth together beyond what they are worth alone."""

    units: tuple[Natural, Natural] = Field(description="Their numbers, ascending.")
    measure: Words = Field(description="What it is a difference of.")
    value: float = Field(
        description="Below 0: they stand in for each other. Above 0: they work only together. In the "
        "measure's unit."
    )
    interval: tuple[float, float] = Field(description="Where the value lies, as far as the coalitions tell.")


class NoiseFloorFields(Open):
    """How much scores move by themselves."""

    model_config = ConfigDict(json_schema_extra={"type": ["object", "null"]})

    scores: dict[str, NotNegative] = Field(
        description="For each distance, the largest deviation that was seen. Scores below it cannot be told "
        "from 0."
    )
    measured: int = Field(ge=1, description="How many scores were measured twice.")


class DiagnosticsFields(Open):
    """How a record was computed."""

    outside_support: NotNegative = optional(
        description="Largest probability, over all units, that the transport problems left out."
    )
    transport_gap: NotNegative = optional(
        description="Largest width, over all units, of the interval that is known to hold the exact "
        "transport cost.",
    )
    transport_bounds: tuple[tuple[NotNegative, NotNegative], ...] = optional(
        description="For each unit, two numbers that the transport cost between the whole distributions, the "
        "mass outside the support included, lies between for certain. Empty without transport.",
    )
    support_size: tuple[Natural, ...] = optional(
        description="For each unit, the number of outcomes in its transport problem."
    )
    model_tokens: Natural = optional(
        description="Token positions that went through the model, padding excluded."
    )
    batch_size: Natural = optional(description="Prompts that were searched together, in the largest batch.")
    seconds: dict[str, NotNegative] = optional(description="Wall-clock seconds of each stage.")
    out_of_memory: Natural = optional(
        description="How often the device ran out of memory, after which batches were halved."
    )
    recomputed: str | None = optional(
        description="Why the model read whole sequences again at each step rather than go on from a cache; "
        "null if it did not.",
    )
    truncated_tokens: Natural = optional(
        description="Tokens of the prompt that the harness cut off on the left before feeding it."
    )
    outcome_entropy: NotNegative = optional(
        description="Entropy of what the model might say to the full prompt, in nats, averaged over the "
        "positions that were compared.",
    )
    failed_methods: dict[str, Words] = optional(
        description="Why methods that were asked for have no scores, by their names. Absent or empty where "
        "all have.",
    )
    transport_left_over: Natural = optional(
        description="Transport problems (one a unit and step) that the device's solver could not bring "
        "within the tolerance and left to the exact one. Absent in records of earlier versions.",
    )
    noise_floor: Annotated[NoiseFloor, As(NoiseFloorFields)] | None = optional(
        description="How much scores move when the same prompts go through the model in other batches, "
        "measured on the first samples of the task up to this one. Null or absent where it was not measured, "
        "as in single precision.",
    )
    told_tokens: Annotated[int, Field(ge=1)] | None = optional(
        description="Likeliest tokens of a distribution that the runtime can tell of, where that is not all "
        "of them: kl, l2, js and tv are then of the tokens told of with and without the unit, with all "
        "others as one more outcome, and not to be compared with those over the whole vocabulary. Null or "
        "absent where they cover that.",
    )
    lds: dict[str, Annotated[float, Field(ge=-1, le=1)]] = optional(
        description="For each measure, Spearman's rank correlation between what the scores predict for "
        "coalitions that were not used and what those are worth. Empty or absent where none were held out.",
    )
    held_out: Natural = optional(description="How many coalitions were held out for it.")


_RECORD = ConfigDict(
    extra="forbid",
    json_schema_extra={
        "$id": f"urn:gilot-plugin:schema:record:{SCHEMA_VERSION}",
        "title": "GiLOT attribution record",
        "description": "One line of attributions_<task>_<date>.jsonl: what was found out about one "
        "sample of an evaluation.",
        "if": {"properties": {"status": {"const": "ok"}}, "required": ["status"]},
        "then": {
            "required": ["prompt_tokens", "units", "target", "scores", "flows", "diagnostics"],
            "properties": {
                "prompt_tokens": {"minItems": 1},
                "units": {"minItems": 1},
                "target": {"type": "object"},
                "scores": {"minProperties": 1},
            },
        },
        "else": {"required": ["reason"]},
    },
)


@dataclass(frozen=True, kw_only=True, config=_RECORD)
class RecordFields:
    """One line of ``attributions_<task>_<date>.jsonl``."""

    schema_version: Version = Field(
        description="Version of this schema. A record whose meaning changes gets a new one. 1.0: scores of a "
        "generation that are averaged over steps leave the first token of the answer out."
    )
    task: Words = Field(description="Name of the task in lm-evaluation-harness.")
    doc_id: Natural = Field(description="The harness's number of the document.")
    doc_hash: str = Field(
        description="The harness's hash of the document; joins the record to a line of "
        "samples_<task>_<date>.jsonl."
    )
    prompt_hash: str = Field(description="The harness's hash of the prompt.")
    target_hash: str = Field(description="The harness's hash of the target.")
    request_type: Literal["generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling"] = (
        Field(description="The task's output type.")
    )
    status: Status = Field(
        description="ok: attributed. skipped: chosen, but it cannot be attributed. failed: an error occurred."
    )
    reason: OrAbsent[Words] = optional(description="Why the sample was skipped or failed, in words.")
    prompt_tokens: tuple[Annotated[Token, As(TokenFields)], ...] = optional(
        absent=(),
        description="The tokens that the model was fed, in order. Their spans cover the decoded prompt "
        "without gaps; tokens that are pieces of one character share it.",
    )
    units: tuple[Annotated[Unit, As(UnitFields)], ...] = optional(
        absent=(), description="What was taken away, one at a time, in prompt order and without overlap."
    )
    target: RecordedTarget | None = optional(description="What was explained; null unless the status is ok.")
    scores: dict[str, tuple[float, ...]] = optional(
        absent={}, description="For each attribution method, one number a unit, in the order of the units."
    )
    answer: Annotated[ExplainedAnswer, As(ExplainedAnswerFields)] | None = optional(
        description="What the model said, and which part of it was explained. Null or absent where the "
        "target is choices, and in records of earlier versions.",
    )
    step_scores: dict[str, tuple[tuple[float, ...], ...]] = optional(
        absent={},
        description="For each measure, one list a unit, in the order of the units: the score at every "
        "position of the window. Their mean is the unit's score where one unit was taken away at a time.",
    )
    intervals: dict[str, tuple[tuple[float, float], ...]] = optional(
        absent={},
        description="For each method whose scores are estimated from coalitions, for each unit two numbers "
        "that its score lies between, as far as the coalitions tell.",
    )
    scheme: Annotated[SchemeUse, As(SchemeUseFields)] | None = optional(
        description="How scores came from coalitions. Null or absent: one unit was taken away at a time."
    )
    interactions: tuple[Annotated[Interaction, As(InteractionFields)], ...] = optional(
        absent=(), description="The strongest pairs of units, strongest first, where coalitions were read."
    )
    flips: Annotated[Flips, As(FlipsFields)] | None = optional(
        description="What comes out when the model answers anew without each unit. Null or absent where that "
        "was not asked."
    )
    flows: tuple[tuple[Annotated[Flow, As(FlowFields)], ...], ...] = optional(
        absent=(),
        description="For each unit, the largest transports between different outcomes when it is absent, "
        "largest first.",
    )
    total_flows: tuple[Annotated[TotalFlow, As(TotalFlowFields)], ...] = optional(
        absent=(), description="Transports added up over the units, largest first."
    )
    coarse_units: tuple[Annotated[CoarseUnit, As(CoarseUnitFields)], ...] = optional(
        absent=(),
        description="With adaptive units: what was measured and then cut further, in prompt order. Their "
        "pieces are among the units.",
    )
    diagnostics: Annotated[Mapping[str, Any], As(DiagnosticsFields)] = optional(
        absent={},
        description="What the computation cost, and how far it can be trusted. Empty unless the "
        "status is ok.",
    )
    metrics: dict[str, Any] = Field(
        description="The sample's metrics as the harness computed them, by 'metric,filter'. NaN and the "
        "infinities are the texts 'NaN', 'Infinity' and '-Infinity'."
    )
    config_hash: Sha256 = Field(description="Of the settings, which stand in the manifest under this hash.")
    model: str = Field(description="Name of the model.")
    record_sha256: Sha256 = Field(
        description="Of the canonical JSON (sorted keys, ASCII, no spaces) of all other fields."
    )
