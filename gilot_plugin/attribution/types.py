"""The values that flow through an attribution, from the fed prompt to its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gilot_plugin.display import Displayed, strongest

SPECIAL_SEGMENT = "special"
TEMPLATE_SEGMENT = "template"
CONTENT_SEGMENT = "content"

#: Parts of a prompt that the harness puts together, beside its few-shot examples ``shot_1``, ``shot_2``, ...
SYSTEM_SEGMENT = "system"
DESCRIPTION_SEGMENT = "description"
QUESTION_SEGMENT = "question"
LEAD_IN_SEGMENT = "lead_in"
SHOT_PREFIX = "shot_"

#: What the model itself said before the part of its answer that is explained.
REASONING_SEGMENT = "reasoning"

#: Segments that the scope ``content`` leaves in place.
FIXED_SEGMENTS = frozenset({SPECIAL_SEGMENT, TEMPLATE_SEGMENT})


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the prompt as the model was fed it.

    Attributes:
        id: Id in the vocabulary.
        text: ``prompt.text[start:end]``. Tokens that are pieces of one character share that character.
        start: First character, counted in the decoded prompt.
        end: One past the last character.
    """

    id: int
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A named part of the prompt's text, e.g. the first few-shot example.

    Attributes:
        start: First character.
        end: One past the last character.
        name: What the part is, e.g. ``"question"``, ``"shot_1"``, ``"template"``.
    """

    start: int
    end: int
    name: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The tokens fed to the model and the text they stand for.

    Attributes:
        text: The decoded tokens, special tokens included.
        tokens: The fed tokens, in order.
        segments: For each token, the name of the part of the prompt it belongs to.
    """

    text: str
    tokens: tuple[Token, ...]
    segments: tuple[str, ...]

    @property
    def token_ids(self) -> tuple[int, ...]:
        """Ids of the fed tokens."""
        return tuple(token.id for token in self.tokens)


@dataclass(frozen=True, slots=True)
class Unit:
    """A run of prompt tokens that is taken away together.

    Attributes:
        start_token: Index of the first token.
        end_token: One past the last token.
        text: The characters that the tokens stand for.
        segment: The part of the prompt that the unit lies in.
        level: How coarsely the prompt was cut here: ``"token"``, ``"word"``, ..., ``"segment"`` or
            ``"regex"``. With ``units: auto``, lines that were too many to be measured one by one, and so were
            joined, are still at the level of their segment, and so on down to words.
    """

    start_token: int
    end_token: int
    text: str
    segment: str
    level: str = ""


#: Units that are taken away at the same time; none of them for the full prompt.
Absent = tuple[Unit, ...]


class Flow(NamedTuple):
    """Probability that the optimal coupling moves from one outcome to another when the unit is absent.

    Attributes:
        from_token: Outcome that loses the mass, as text.
        to_token: Outcome that gains it, as text.
        mass: Probability moved.
        cost: Ground cost between the two outcomes.
    """

    from_token: str
    to_token: str
    mass: float
    cost: float


class TotalFlow(NamedTuple):
    """A flow added up over the units of a prompt.

    Attributes:
        from_token: Outcome that loses the mass, as text.
        to_token: Outcome that gains it, as text.
        mass: Probability moved, summed over the units.
        cost: Ground cost between the two outcomes.
        units: How many units' absence moves it.
    """

    from_token: str
    to_token: str
    mass: float
    cost: float
    units: int


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One of the K continuations that stand for everything the model might say.

    Attributes:
        token_ids: The continuation, with its end-of-sequence token if it ended.
        text: The decoded continuation.
        logprob: Natural logarithm of its probability given the full prompt, in nats.
        probability: Its share among the hypotheses, ``w_k / sum_k w_k``.
        ended: Whether it closed with an end-of-sequence token within ``max_new_tokens``.
    """

    token_ids: tuple[int, ...]
    text: str
    logprob: float
    probability: float
    ended: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the task's answers to a multiple-choice document.

    Attributes:
        text: The continuation that was scored.
        token_ids: Its tokens, as the harness fed them.
        logprob: Summed log-likelihood given the full prompt, in nats.
        normalized_logprob: The same a character, in nats, as ``acc_norm`` compares it.
        probability: Softmax of the one or the other over the choices, as the settings say.
        unscored: How many of its first tokens belong to the context, where contexts differ between choices:
            they are fed, and their log-likelihood does not count.
    """

    text: str
    token_ids: tuple[int, ...]
    logprob: float
    normalized_logprob: float
    probability: float
    unscored: int = 0


@dataclass(frozen=True, slots=True)
class ExplainedAnswer:
    """What the model said, and which part of it was explained.

    Attributes:
        tokens: Its tokens as far as they were looked at; offsets are counted in its decoded text.
        window: Indices of the tokens whose positions were compared, ascending.
        explain: What was asked for: ``"start"``, ``"scored"``, ``"end"``, ``"all"`` or ``"regex"``.
        scored_text: What the task's filter took out of it; None where no filter did.
        reason: Why the part that was asked for could not be found and the start was explained instead.
    """

    tokens: tuple[Token, ...]
    window: tuple[int, ...]
    explain: str = "start"
    scored_text: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Flips:
    """What comes out when the model answers anew without each unit.

    Attributes:
        answer: What the metric sees of its answer to the full prompt; None where it sees nothing.
        into: The same without each unit.
        rate: Flip rate: share of the units without which something else comes out.
    """

    answer: str | None
    into: tuple[str | None, ...]
    rate: float

    @property
    def changed(self) -> tuple[bool, ...]:
        """For each unit, whether something else comes out."""
        return tuple(text != self.answer for text in self.into)


@dataclass(frozen=True, slots=True)
class SchemeUse:
    """How scores came from coalitions of absent units.

    Attributes:
        name: Value of the setting ``scheme``.
        coalitions: Prompts without units that were read for it.
        tied: Groups of units, by their numbers, whose order the coalitions do not settle.
        left_out: How many of them had no finite value and count nowhere.
        interrupted: Whether it ended before it was done.
    """

    name: str
    coalitions: int
    tied: tuple[tuple[int, ...], ...] = ()
    left_out: int = 0
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class Interaction:
    """What two units are worth together beyond what they are worth alone.

    Attributes:
        units: Their numbers, ascending.
        measure: What it is a difference of.
        value: Below 0, they stand in for each other; above 0, they work only together. In the measure's unit.
        interval: Where the value lies, as far as the coalitions tell.
    """

    units: tuple[int, int]
    measure: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """How much scores move when the same prompts go through the model in other batches.

    Attributes:
        scores: For each distance, the largest deviation that was seen. Scores below it cannot be told from 0.
        measured: How many scores were measured twice.
    """

    scores: Mapping[str, float]
    measured: int


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """How an attribution was computed and how far it can be trusted.

    Attributes:
        outside_support: Largest probability, over all units and both distributions, that the support of
            the transport problem left out.
        transport_gap: Largest difference, over all units, between the cost of the feasible plan that was
            returned and the value of a feasible dual. The exact cost lies within it.
        transport_bounds: For each unit, two numbers that the transport cost between the whole distributions,
            the mass outside the support included, lies between for certain. Empty without transport.
        support_size: Number of outcomes in each unit's transport problem.
        model_tokens: Token positions that went through the model, padding excluded.
        batch_size: Prompts that were searched together, in the largest batch.
        seconds: Wall-clock seconds a stage: ``model``, ``measure`` (summed over worker threads), those
            of each method that is no distance, by its name, and ``total``.
        out_of_memory: How often the device ran out of memory, after which batches were halved.
        recomputed: Why the model read whole sequences again at each step rather than go on from a cache; None
            if it did not.
        truncated_tokens: Tokens of the prompt that the harness cut off on the left before feeding it.
        outcome_entropy: Entropy of the full prompt's outcome distribution, in nats, averaged over steps.
        failed_methods: Why methods that were asked for have no scores, by their names.
        transport_left_over: Transport problems (one a unit and step) that the device's solver could not bring
            within the tolerance and left to the exact one; 0 on a CPU, where all of them are exact.
        noise_floor: How much scores move by themselves, measured on the first samples of the run up to this
            one; None where it was not measured.
        told_tokens: Likeliest tokens of a distribution that the runtime can tell of, where that is not all
            of them. Distances but transport are then those of the tokens told of with and without the units,
            with all others as one more outcome; None where they cover the whole vocabulary.
        lds: For each measure, Spearman's rank correlation between what the scores predict for coalitions
            that were not used and what those are worth; empty where none were held out.
        held_out: How many were held out.
    """

    outside_support: float
    transport_gap: float
    transport_bounds: tuple[tuple[float, float], ...]
    support_size: tuple[int, ...]
    model_tokens: int
    batch_size: int
    seconds: Mapping[str, float]
    out_of_memory: int = 0
    recomputed: str | None = None
    truncated_tokens: int = 0
    outcome_entropy: float = 0.0
    failed_methods: Mapping[str, str] = field(default_factory=dict)
    transport_left_over: int = 0
    noise_floor: NoiseFloor | None = None
    told_tokens: int | None = None
    lds: Mapping[str, float] = field(default_factory=dict)
    held_out: int = 0


@dataclass(frozen=True, slots=True)
class CoarseUnit:
    """A unit that mattered enough to be cut further; its pieces are among the units.

    Attributes:
        unit: What was taken away.
        scores: For each distance, its number.
    """

    unit: Unit
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Attribution(Displayed):
    """How much each unit of a prompt matters to what the model would say.

    Attributes:
        prompt: The prompt as fed.
        units: What was taken away, in prompt order.
        scores: For each method, one number a unit, in the order of ``units``; none for
            ``diagnostics.failed_methods``.
        flows: For each unit, the largest transports between different outcomes, largest first.
        total_flows: Transports added up over the units, largest first.
        coarse_units: With adaptive units, what was measured and then cut further, in prompt order.
        margin: How far the strongest right choice is ahead of the strongest other one with the full prompt,
            in nats; None where the target is no choice, or not some of the choices are right.
        hypotheses: The continuations of the full prompt; empty when the target is ``choices``.
        choices: The task's choices; empty when the target is ``generation``.
        answer: What the model said, and which part of it was explained; None when the target is ``choices``.
        step_scores: For each measure and unit, the score at every position of the window.
        intervals: For each method and unit, where the score lies as far as the scheme's coalitions tell;
            empty for schemes that estimate nothing.
        scheme: How scores came from coalitions.
        interactions: The strongest pairs of units, strongest first.
        flips: What comes out when the model answers anew without each unit; None where that was not asked.
        diagnostics: Cost and accuracy of the computation.
    """

    prompt: Prompt
    units: tuple[Unit, ...]
    scores: Mapping[str, tuple[float, ...]]
    flows: tuple[tuple[Flow, ...], ...]
    diagnostics: Diagnostics
    hypotheses: tuple[Hypothesis, ...] = field(default=())
    choices: tuple[Choice, ...] = field(default=())
    total_flows: tuple[TotalFlow, ...] = field(default=())
    coarse_units: tuple[CoarseUnit, ...] = field(default=())
    margin: float | None = None
    answer: ExplainedAnswer | None = None
    step_scores: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    scheme: SchemeUse | None = None
    interactions: tuple[Interaction, ...] = ()
    flips: Flips | None = None

    def __repr__(self) -> str:
        texts = [unit.text for unit in self.units]
        told = [f"{name}: {strongest(texts, scores)}" for name, scores in self.scores.items()][:1]
        return f"Attribution({'; '.join([f'{len(self.units)} units, {self.target}', *told])})"

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The prompt's tokens."""
        return self.prompt.tokens

    @property
    def target(self) -> str:
        """What was explained: ``"generation"`` or ``"choices"``."""
        return "choices" if self.choices else "generation"
