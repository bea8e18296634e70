"""What is explained for each type of request is what the harness asked the model, token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.faithfulness.cases import Scored, case_of_record, ranked_sample, score
from gilot_plugin.faithfulness.measurement import measure_faithfulness
from gilot_plugin.faithfulness.store import ValueStore
from gilot_plugin.harness.entry.attach import attach
from gilot_plugin.harness.entry.summary import print_summary
from gilot_plugin.harness.state.run import EvaluationRun
from tests.attribution.engine_calls import recipe
from tests.harness.evaluations import (
    QUESTIONS,
    evaluate,
    explain,
    fed_ids,
    generation_task,
    inline_task,
)

pytestmark = pytest.mark.lm_eval

#: The given continuation is the only hypothesis, to its end.
GIVEN: Mapping[str, Any] = {"hypotheses": "response", "max_new_tokens": 40, "methods": ["l2", "logprob"]}

ENDINGS = inline_task(
    "endings",
    "loglikelihood",
    [{"text": "The quick brown fox", "target": " jumps over"}, {"text": "A bird", "target": " can fly"}],
    metric_list=[{"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}],
)


def logprob(model: Any, prompt: list[int], answer: list[int]) -> float:
    """Log-probability of the answer, in one plain forward pass."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *answer]])).logits[0].double().log_softmax(-1)
    return sum(float(logits[len(prompt) + place - 1, token]) for place, token in enumerate(answer))


def rolling_task(texts: list[str], **settings: Any) -> dict[str, Any]:
    return inline_task(
        "texts",
        "loglikelihood_rolling",
        [{"text": "", "target": text} for text in texts],
        metric_list=[
            {"metric": "word_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}
        ],
        metadata={"version": 1, "gilot": settings},
    )


def explain_by_default(lm: Any, task: Any) -> EvaluationRun:
    """With no setting but those of the task."""
    with attach({"num_threads": 1}) as attachment:
        evaluate(lm, [task])
    (run,) = attachment.runs
    return run


# One continuation


def test_the_continuation_is_what_is_explained(make_lm: Callable[..., Any]) -> None:
    lm = make_lm()
    results, run = explain(lm, [ENDINGS], GIVEN)
    for record, row in zip(run.records, results["samples"]["endings"], strict=True):
        (hypothesis,) = record["target"]["hypotheses"]
        assert record["request_type"] == "loglikelihood"
        assert record["target"]["kind"] == "generation"
        assert record["target"]["response"] == row["arguments"][0][1]
        assert hypothesis["logprob"] == pytest.approx(row["resps"][0][0][0], abs=1e-4)
        context = row["arguments"][0][0]
        assert fed_ids(record) == lm.tok_encode(context)


def test_leave_one_out_is_that_of_the_harness(make_lm: Callable[..., Any]) -> None:
    """The harness itself is asked about the context without a word."""
    lm = make_lm()
    _, run = explain(lm, [ENDINGS], {**GIVEN, "methods": ["logprob"]})
    record = run.records[0]
    answer = record["target"]["hypotheses"][0]["token_ids"]
    full = logprob(lm.model, fed_ids(record), answer)
    for unit, value in zip(record["units"], record["scores"]["logprob"], strict=True):
        ids = fed_ids(record)
        without = ids[: unit["start_token"]] + ids[unit["end_token"] :]
        assert value == pytest.approx(full - logprob(lm.model, without, answer), abs=1e-4)


# Texts that are scored as a whole


@pytest.mark.parametrize("count", [1, 3])
def test_the_last_tokens_of_a_text(make_lm: Callable[..., Any], count: int) -> None:
    lm = make_lm()
    run = explain_by_default(lm, rolling_task(["The quick brown fox jumps over"], rolling_target=count))
    (record,) = run.records
    whole = [lm.prefix_token_id, *lm.tok_encode("The quick brown fox jumps over")]
    (hypothesis,) = record["target"]["hypotheses"]
    assert fed_ids(record) == whole[:-count]
    assert hypothesis["token_ids"] == whole[-count:]
    assert hypothesis["logprob"] == pytest.approx(logprob(lm.model, whole[:-count], whole[-count:]), abs=1e-4)
    assert record["diagnostics"]["truncated_tokens"] == 0
    settings = run.tasks["texts"].config
    assert (settings.hypotheses, settings.max_new_tokens, settings.steps) == ("response", count, "mean")


def test_explicit_settings_win_over_those_of_given_tokens(make_lm: Callable[..., Any]) -> None:
    task = rolling_task(["The quick brown fox jumps over"], rolling_target=2, steps="last")
    _, run = explain(make_lm(), [task], {"max_new_tokens": 1})
    settings = run.tasks["texts"].config
    assert (settings.hypotheses, settings.max_new_tokens, settings.steps) == ("response", 1, "last")


def test_the_last_window_of_a_long_text(make_lm: Callable[..., Any]) -> None:
    """What is explained is what the model saw while the harness scored these tokens."""
    lm = make_lm(max_length=12)
    text = "One two three four five six seven eight nine ten eleven twelve thirteen"
    seen: list[tuple[list[int], list[int]]] = []
    score = lm._loglikelihood_tokens

    def watch(requests: Any, *arguments: Any, **named: Any) -> Any:
        seen.extend((list(context), list(scored)) for _, context, scored in requests)
        return score(requests, *arguments, **named)

    lm._loglikelihood_tokens = watch
    evaluate(lm, [rolling_task([text])])
    del lm._loglikelihood_tokens
    assert len(seen) > 1
    context, scored = max(seen, key=lambda window: len(window[0]))
    for task_count in (1, len(scored), len(scored) + 5):
        run = explain_by_default(lm, rolling_task([text], rolling_target=task_count))
        (record,) = run.records
        kept = min(task_count, len(scored))
        assert record["target"]["hypotheses"][0]["token_ids"] == scored[-kept:]
        assert fed_ids(record) == [*context, *scored[:-kept]]
        total = len(lm.tok_encode(text))
        assert record["diagnostics"]["truncated_tokens"] == total - len(context) - len(scored)


def test_texts_that_are_too_short(make_lm: Callable[..., Any]) -> None:
    _, run = explain(make_lm(), [rolling_task(["fox"], rolling_target=50)], {})
    assert run.records[0]["status"] == "skipped"
    assert "lower rolling_target" in run.records[0]["reason"]


# Choices in the context


BLANKS = [
    {"options": ["The dog is", "The bird is", "The quick brown fox is"], "answer": 1, "end": "lazy"},
    {"options": ["A dog can", "A bird can"], "answer": 0, "end": "fly"},
]

#: With several words before the blank, and two choices: one leads by as much as the other one lags.
PAIRS = [
    {
        "options": ["The fox jumps over the dog", "The fox jumps over the quick bird"],
        "answer": 1,
        "end": "it",
    },
    {"options": ["What can a bird", "What can a dog"], "answer": 0, "end": "fly over"},
]


def blanks(rows: list[dict[str, Any]] = BLANKS, **settings: Any) -> dict[str, Any]:
    return inline_task(
        "blanks",
        "multiple_choice",
        rows,
        **{"doc_to_text": "{{answer}}", "doc_to_choice": "options", "doc_to_target": "end", **settings},
    )


@pytest.mark.parametrize("metrics", [["acc"], ["acc", "acc_mutual_info"]])
def test_choices_in_the_context(make_lm: Callable[..., Any], metrics: list[str]) -> None:
    lm = make_lm()
    listed = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in metrics]
    results, run = explain(lm, [blanks(metric_list=listed)], {})
    for record, row in zip(run.records, results["samples"]["blanks"], strict=True):
        choices = record["target"]["choices"]
        assert record["target"]["gold"] == [row["doc"]["answer"]]
        # The continuation alone is scored, as the harness does it.
        scored = [response[0][0] for response in row["resps"][: len(choices)]]
        assert [choice["logprob"] for choice in choices] == pytest.approx(scored, abs=1e-4)
        prompt = fed_ids(record)
        for choice, (context, continuation) in zip(choices, row["arguments"], strict=False):
            assert prompt + choice["token_ids"] == lm.tok_encode(context + continuation)
            assert (context + continuation).endswith(choice["text"])
        assert len({choice["text"] for choice in choices}) == len(choices)
        assert all(cost > 0 for flows in record["flows"] for cost in [flow["cost"] for flow in flows])


@pytest.mark.parametrize("scoring", ["sum", "norm"])
def test_margins_of_choices_in_the_context_are_those_of_the_harness(
    make_lm: Callable[..., Any], scoring: str
) -> None:
    lm = make_lm()
    settings = {"choice_scoring": scoring}
    results, run = explain(lm, [blanks(PAIRS)], settings)
    for json_record, row in zip(run.records, results["samples"]["blanks"], strict=True):
        record = Record.from_json(json_record)
        assert record.target is not None
        for choice, (_, continuation) in zip(record.target.choices, row["arguments"], strict=True):
            scored = choice.token_ids[choice.unscored :]
            assert choice.unscored > 0
            assert lm.tokenizer.decode(scored) == continuation
        sample = ranked_sample(case_of_record(record, run.tasks["blanks"].config), ["l2"], 0, 1)
        curves = list(
            measure_faithfulness(
                TransformersBackend(lm.model),
                lm.tokenizer,
                [sample],
                {"delete": recipe(num_beams=2)},
                None,
                ValueStore("tiny"),
            )
        )
        assert curves
        for found in curves:
            lead = found.quantities["margin"]
            assert record.target.margin is not None
            assert lead.morf[0] == pytest.approx(abs(record.target.margin), abs=1e-5)
            assert lead.lerf[0] == lead.morf[0]
        (first, *_), (second, *_) = (response[0] for response in row["resps"])
        if scoring == "sum":
            assert abs(record.target.margin) == pytest.approx(abs(first - second), abs=1e-4)


def test_contexts_that_are_cut_at_different_places(make_lm: Callable[..., Any]) -> None:
    task = blanks(num_fewshot=1, fewshot_split="test", fewshot_config={"doc_to_choice": "options"})
    _, run = explain(make_lm(max_length=6), [task], {})
    assert "cut at different places" in run.records[0]["reason"]


# What the model really said


def test_generated_tokens_are_the_answer(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    """Text that is encoded again may fall into other tokens than the model generated."""
    lm = make_lm()
    produced = []
    generate = lm._model_generate

    def watch(context: Any, *arguments: Any, **named: Any) -> Any:
        found = generate(context, *arguments, **named)
        produced.append(found[0, context.shape[1] :].tolist())
        return found

    lm._model_generate = watch
    lm.batch_size_per_gpu = 1
    _, run = explain(lm, [generation_task("answers", QUESTIONS[:1], max_gen_toks=6)], GIVEN)
    (hypothesis,) = run.records[0]["target"]["hypotheses"]
    eos = tokenizer.eos_token_id
    generated = produced[0][: produced[0].index(eos)] if eos in produced[0] else produced[0]
    assert hypothesis["token_ids"] == generated[: len(hypothesis["token_ids"])]
    assert lm.tok_decode(hypothesis["token_ids"]) == run.records[0]["target"]["response"]


def said(lm: Any, text: str) -> list[int]:
    """Make the model say this."""
    ids = lm.tok_encode(text, add_special_tokens=False)

    def generate(context: Any, *_: Any, **__: Any) -> Any:
        return torch.cat([context, torch.tensor([ids] * len(context))], dim=1)

    lm._model_generate = generate
    return list(ids)


def test_answer_ends_where_the_harness_cut_it(make_lm: Callable[..., Any]) -> None:
    lm = make_lm()
    said(lm, "A bird can fly. One, two")
    until = {"generation_kwargs": {"until": [". One"], "do_sample": False, "max_gen_toks": 12}}
    _, run = explain(lm, [generation_task("answers", ["Why?"], **until)], GIVEN)
    target = run.records[0]["target"]
    assert target["response"] == "A bird can fly"
    assert lm.tok_decode(target["hypotheses"][0]["token_ids"]) == "A bird can fly"


@pytest.mark.parametrize("as_number", [False, True])
def test_thoughts_are_part_of_what_the_model_said(make_lm: Callable[..., Any], as_number: bool) -> None:
    lm = make_lm()
    (mark,) = lm.tok_encode("!", add_special_tokens=False)
    lm.think_end_token = mark if as_number else "!"
    said(lm, "It can fly! A bird")
    _, run = explain(lm, [generation_task("answers", ["Why?"], max_gen_toks=16)], GIVEN)
    target = run.records[0]["target"]
    assert target["response"] == "A bird"
    assert lm.tok_decode(target["hypotheses"][0]["token_ids"]) == "It can fly! A bird"


def test_methods_added_later_explain_the_same_answer(make_lm: Callable[..., Any]) -> None:
    """Its text, encoded again, lacks the thoughts that the model had said before it."""
    lm = make_lm()
    lm.think_end_token = "!"
    ids = said(lm, "It can fly! A bird")
    _, run = explain(lm, [generation_task("answers", ["Why?"], max_gen_toks=16)], {**GIVEN, "units": "word"})
    record = Record.from_json(run.records[0])
    assert record.target is not None
    assert record.target.response_ids == tuple(ids)
    case = case_of_record(record, run.tasks["answers"].config)
    ((_, later),) = score(TransformersBackend(lm.model), lm.tokenizer, None, [case], ["logprob"])
    assert isinstance(later, Scored)
    assert later.scores["logprob"] == pytest.approx(case.scores["logprob"], abs=1e-5)


def test_thoughts_that_are_not_known(make_lm: Callable[..., Any], tmp_path: Any) -> None:
    lm, task = make_lm(), generation_task("answers", ["Why?"], max_gen_toks=16)
    lm.think_end_token = "!"
    said(lm, "It can fly! A bird")
    cache = str(tmp_path / "cache")
    evaluate(lm, [task], use_cache=cache)
    _, run = explain(lm, [task], GIVEN, use_cache=cache)
    (record,) = run.records
    assert record["status"] == "ok"
    assert "the model may have thought before it answered" in record["target"]["response_doubt"]
    first = record["target"]["hypotheses"][0]["token_ids"]
    assert first == lm.tok_encode(record["target"]["response"], add_special_tokens=False)[: len(first)]
    lm.think_end_token = None
    _, plain = explain(lm, [task], GIVEN, use_cache=cache)
    assert "response_doubt" not in plain.records[0]["target"]
    assert plain.records[0]["scores"] == record["scores"]


def test_thoughts_that_were_logged_are_explained_with_the_answer(
    make_lm: Callable[..., Any], tmp_path: Any
) -> None:
    """Where the harness was not told of them when it asked, they are part of the answer's text."""
    lm, task = make_lm(), generation_task("answers", ["Why?"], max_gen_toks=16)
    ids = said(lm, "It can fly! A bird")
    cache = str(tmp_path / "cache")
    evaluate(lm, [task], use_cache=cache)
    lm.think_end_token = "!"
    _, run = explain(lm, [task], GIVEN, use_cache=cache)
    assert run.records[0]["target"]["response_ids"] == ids
    assert "response_doubt" not in run.records[0]["target"]


def test_an_answer_that_is_no_text_is_marked(
    make_lm: Callable[..., Any], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    lm, task = make_lm(), generation_task("answers", ["Why?", "How?"], max_gen_toks=16)
    said(lm, "It can \ufffd fly")
    cache = str(tmp_path / "cache")
    _, direct = explain(lm, [task], GIVEN, use_cache=cache)
    assert "response_doubt" not in direct.records[0]["target"]  # the tokens are the model's own
    with attach(GIVEN) as attachment:
        evaluate(lm, [task], use_cache=cache)
    records = attachment.runs[0].records
    assert [record["status"] for record in records] == ["ok", "ok"]
    assert {record["target"]["response_doubt"] for record in records} == {
        "some of its bytes are no text, and what stands in their place was encoded again"
    }
    assert print_summary(attachment)
    assert "2 of the answers: some of its bytes are no text" in capsys.readouterr().err
