from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gilot_plugin.artifacts.record_checks import record_problems
from tests.artifacts import factories

Change = Callable[[dict[str, Any]], Any]


def problems(change: Change, record: dict[str, Any] | None = None, *, resigned: bool = True) -> list[str]:
    return list(
        record_problems(factories.edited(record or factories.make_record(), change, resigned=resigned))
    )


BROKEN_RULES: list[tuple[Change, str]] = [
    (lambda r: r.pop("task"), "task missing"),
    (lambda r: (r.pop("doc_hash"), r.pop("prompt_hash")), "doc_hash, prompt_hash missing"),
    (
        lambda r: r.update(schema_version="1.2"),
        "schema_version: '1.2' is not known; this release reads '1.0', '1.1'",
    ),
    (lambda r: r.update(schema_version=1), "schema_version: 1 is not '1.0' or '1.1'"),
    (lambda r: r.update(task=""), "task: is empty"),
    (lambda r: r.update(doc_id="3"), "doc_id: must be a whole number, not '3'"),
    (lambda r: r.update(doc_id=True), "doc_id: must be a whole number, not true"),
    (lambda r: r.update(doc_id=1.0), "doc_id: must be a whole number, not 1.0"),
    (lambda r: r.update(doc_id=-1), "doc_id: -1 is less than 0"),
    (
        lambda r: r.update(request_type="chat"),
        "request_type: 'chat' is not 'generate_until' or 'multiple_choice' or 'loglikelihood' or "
        "'loglikelihood_rolling'",
    ),
    (lambda r: r.update(status="done"), "status: 'done' is not 'ok' or 'skipped' or 'failed'"),
    (lambda r: r.update(status="failed"), "reason missing"),
    (lambda r: r.update(status="skipped", reason=""), "reason: is empty"),
    (lambda r: r.update(note="hi"), "unknown field 'note'"),
    (
        lambda r: r.update(config_hash="abc"),
        "config_hash: 'abc' is not a SHA-256 in 64 lower-case hexadecimal digits",
    ),
    (lambda r: r.update(metrics=[]), "metrics: must be an object, not a list of 0"),
    (lambda r: r.pop("diagnostics"), "diagnostics missing"),
    (lambda r: r.update(prompt_tokens=[]), "prompt_tokens: is empty"),
    (lambda r: r.update(units=[]), "units: is empty"),
    (lambda r: r.update(scores={}), "scores: is empty"),
    (lambda r: r.update(target=None), "target: must be an object, not null"),
    (lambda r: r["target"].update(kind="text"), "target.kind: 'text' is not 'generation' or 'choices'"),
    (lambda r: r["target"].update(kind="choices"), "target: choices missing"),
    (lambda r: r["target"].pop("hypotheses"), "target: hypotheses missing"),
    (lambda r: r["target"].update(hypotheses=[]), "target.hypotheses: is empty"),
    (
        lambda r: r["target"]["hypotheses"][1].update(logprob=None),
        "target.hypotheses[1].logprob: must be a number, not null",
    ),
    (lambda r: r["prompt_tokens"][2].pop("id"), "prompt_tokens[2]: id missing"),
    (lambda r: r["prompt_tokens"][2].update(bytes=3), "prompt_tokens[2]: unknown field 'bytes'"),
    (lambda r: r["units"][1].update(segment=None), "units[1].segment: must be a text, not null"),
    (lambda r: r["scores"].update({"ot": ["high"] * 6}), "scores.ot[0]: must be a number, not 'high'"),
    (lambda r: r["scores"].update({"a b": [None] * 6}), "scores['a b'][0]: must be a number, not null"),
    (lambda r: r["flows"][0][0].update(mass=-0.1), "flows[0][0].mass: -0.1 is less than 0"),
    (lambda r: r["flows"][0][0].update(cost=-0.1), "flows[0][0].cost: -0.1 is less than 0"),
    (lambda r: r["diagnostics"].update(model_tokens=-1), "diagnostics.model_tokens: -1 is less than 0"),
    (
        lambda r: r["diagnostics"]["seconds"].update(model="1 s"),
        "diagnostics.seconds.model: must be a number, not '1 s'",
    ),
]


@pytest.mark.parametrize(("change", "reason"), BROKEN_RULES, ids=[reason for _, reason in BROKEN_RULES])
def test_a_broken_rule_of_the_schema_is_named_with_its_field(change: Change, reason: str) -> None:
    assert reason in problems(change)


CONTRADICTIONS: list[tuple[Change, str]] = [
    (lambda r: r["scores"]["ot"].pop(), "scores.ot: 5 scores for 6 units"),
    (lambda r: r["flows"].pop(), "flows: 5 lists for 6 units"),
    (lambda r: r["flows"].append([]), "flows: 7 lists for 6 units"),
    (lambda r: r["flows"][3][0].update(mass=1.5), "flows[3]: the masses sum to 1.5, more than all there is"),
    (lambda r: r["units"][0].update(text="Is"), "units[0].text: 'Is', but its tokens cover ' Is'"),
    (lambda r: r["units"][5].update(end_token=99), "units[5].end_token: 99 is past the prompt's 11 tokens"),
    (lambda r: r["units"][2].update(start_token=9), "units[2]: tokens 9 to 6 are none"),
    (lambda r: r["units"].reverse(), "units[1]: starts at token 7, within or before the unit before it"),
    (
        lambda r: r["prompt_tokens"].pop(4),
        "prompt_tokens[4]: starts at character 15, but the token before it ends at 11",
    ),
    (
        lambda r: r["prompt_tokens"][0].update(start=1, end=4),
        "prompt_tokens[0]: starts at character 1, but the token before it ends at 0",
    ),
    (
        lambda r: r["prompt_tokens"][1].update(text="Us"),
        "prompt_tokens[1]: spans characters 3 to 7, but its text has 2",
    ),
    (
        lambda r: r["prompt_tokens"].insert(2, r["prompt_tokens"][1] | {"text": "Used"}),
        "prompt_tokens[2].text: 'Used' is not that of the token before it, which has the same span",
    ),
    (
        lambda r: r["target"]["hypotheses"][0].update(probability=0.5),
        "target.hypotheses: the probabilities sum to 0.75, not 1",
    ),
    (
        lambda r: r["flows"][0][0].update(mass=10**400),
        "holds a whole number that is too large to reckon with",
    ),
]


@pytest.mark.parametrize(("change", "reason"), CONTRADICTIONS, ids=[reason for _, reason in CONTRADICTIONS])
def test_a_contradiction_between_fields_is_named(change: Change, reason: str) -> None:
    assert reason in problems(change)


OF_ESTIMATES: list[tuple[Change, str]] = [
    (lambda r: r["answer"].update(window=[2, 0]), "answer.window: is not ascending"),
    (lambda r: r["answer"].update(window=[4]), "answer.window: 4 is past the answer's 4 tokens"),
    (
        lambda r: r["answer"]["tokens"][1].update(start=2),
        "answer.tokens[1]: starts at character 2, but the token before it ends at 3",
    ),
    (lambda r: r["step_scores"]["ot"].pop(), "step_scores.ot: 5 lists for 6 units"),
    (lambda r: r["step_scores"]["kl"][1].pop(), "step_scores.kl: not all lists have as many positions"),
    (lambda r: r["intervals"]["ot"].pop(), "intervals.ot: 5 intervals for 6 units"),
    (lambda r: r["intervals"]["ot"][0].reverse(), "intervals.ot: a lower end is above its upper one"),
    (lambda r: r["scheme"]["tied"][0].append(6), "scheme.tied[0]: 6 is no number of the 6 units"),
    (
        lambda r: r["interactions"][0].update(units=[4, 2]),
        "interactions[0].units: 4, 2 are no two of the 6 units in order",
    ),
    (lambda r: r["interactions"][0]["interval"].reverse(), "interactions[0].interval: -0.1 is above -0.25"),
]


@pytest.mark.parametrize(("change", "reason"), OF_ESTIMATES, ids=[reason for _, reason in OF_ESTIMATES])
def test_a_contradiction_between_estimates_is_named(change: Change, reason: str) -> None:
    assert reason in problems(change, factories.make_estimated())


def test_probabilities_of_choices_sum_to_one() -> None:
    record = factories.make_record(choices=factories.CHOICES)
    found = problems(lambda r: r["target"]["choices"][0].update(probability=0.9), record)
    assert found == ["target.choices: the probabilities sum to 1.3, not 1"]


def test_a_choice_keeps_a_token_that_is_scored() -> None:
    record = factories.make_record(choices=factories.CHOICES)
    assert problems(lambda r: r["target"]["choices"][0].pop("unscored"), record) == []
    found = problems(lambda r: r["target"]["choices"][0].update(unscored=1), record)
    assert found == ["target.choices[0].unscored: 1 of 1 tokens leaves none to score"]


def test_a_method_fails_or_has_scores() -> None:
    def say(*methods: str) -> Change:
        return lambda r: r["diagnostics"].update(failed_methods=dict.fromkeys(methods, "ValueError: why"))

    assert problems(say("gradient")) == []
    assert problems(say("gradient", "kl")) == ["diagnostics.failed_methods.kl: the method has scores"]


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (1e999, "inf")])
def test_numbers_that_are_not_finite_are_named_with_their_field(value: float, shown: str) -> None:
    found = problems(lambda r: r["scores"]["ot"].__setitem__(2, value))
    assert found[0] == f"scores.ot[2]: {shown} is not a finite number"


def test_an_edit_is_noticed_by_its_checksum() -> None:
    found = problems(lambda r: r["metrics"].update({"exact_match,none": 0.0}), resigned=False)
    assert found == ["edited: the checksum does not match"]


def test_a_record_needs_a_checksum() -> None:
    assert problems(lambda r: r.pop("record_sha256"), resigned=False) == ["record_sha256 missing"]


def test_a_skipped_record_needs_no_attribution() -> None:
    record = factories.make_skipped()
    for name in ("prompt_tokens", "units", "target", "scores", "flows", "diagnostics"):
        record = factories.edited(record, lambda r, name=name: r.pop(name))
    assert list(record_problems(record)) == []


def test_scores_may_be_negative_and_of_any_method() -> None:
    assert problems(lambda r: r["scores"].update(gradient=[-0.5] * 6)) == []


def test_reasons_hold_no_control_characters() -> None:
    evil = "\x1b[31m\u202e"
    changes: list[Change] = [
        lambda r: r.update(status=evil),
        lambda r: r.update({evil: 1}),
        lambda r: r["scores"].update({evil: [1]}),
        lambda r: r["units"][0].update(text=evil),
        lambda r: r.update(schema_version=evil),
        lambda r: r["metrics"].update({evil: float("nan")}),
    ]
    for change in changes:
        found = problems(change)
        assert found
        assert all(reason.isprintable() for reason in found)


def test_a_prompt_of_a_hundred_thousand_characters_takes_seconds_at_most() -> None:
    record = factories.make_record(text="<s>" + "word and " * 11_000 + "x" * 1_000)
    started = time.perf_counter()
    assert list(record_problems(record)) == []
    assert time.perf_counter() - started < 10
