"""What the metric saw is what is explained: through lm-eval, its filters and its answers."""

from __future__ import annotations

import pytest

from gilot_plugin.artifacts.record_checks import record_problems
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.errors import ConfigError
from tests.harness.evaluations import choices_task, explain, fed_ids, generation_task
from tests.harness.planted_answers import saying

LAST_NUMBER = [
    {
        "name": "last-number",
        "filter": [
            {"function": "regex", "regex_pattern": "(-?[0-9][0-9,.]*)", "group_select": -1},
            {"function": "take_first"},
        ],
    },
    {"name": "whole", "filter": [{"function": "take_first"}]},
]

#: Parts of questions, answers, and what the last number is: known by reading them.
ANSWERS = {
    "fox": ("There are 3 foxes and 4 dogs. 3 + 4 = 7. So there are 7 animals", "7"),
    "bird": ("The bird can fly 12 times: 12 is 12.", "12."),
    "Say 3": ("3", "3"),
    "nothing": ("I can not say", None),
    "café": ("Un café 🎉 costs 5,50 and two cost 11,00", "11,00"),
    "silent": ("", None),
}


@pytest.fixture
def lm(make_lm, shared_model, tokenizer):
    spoken = {part: text for part, (text, _) in ANSWERS.items()}
    return make_lm(saying(shared_model, tokenizer, spoken))


def task(name="numbers", **config):
    texts = [f"How many? {part}:" for part in ANSWERS]
    return generation_task(name, texts, max_gen_toks=60, **{"filter_list": LAST_NUMBER, **config})


def window_text(record):
    answer = record["answer"]
    tokens = [answer["tokens"][place] for place in answer["window"]]
    return "".join(token["text"] for token in tokens)


def test_what_the_filter_took_out_is_explained_by_itself(lm):
    _, run = explain(lm, [task()], {"max_new_tokens": 3})
    assert len(run.records) == len(ANSWERS)
    for record, (part, (said, number)) in zip(run.records, ANSWERS.items(), strict=True):
        assert record["status"] == "ok", record["reason"]
        assert not list(record_problems(record))
        answer = record["answer"]
        assert answer["explain"] == "scored"
        assert record["target"]["response"] == said
        if number is None:
            assert "found nothing" in answer["reason"]
            assert answer["window"] == list(range(len(answer["tokens"])))
            assert len(answer["window"]) <= 3
            continue
        assert answer.get("reason") is None
        assert answer["scored_text"] == number
        assert window_text(record).strip() == number
        # The answer as far as it was read, and the prompt exactly as lm-eval fed it.
        assert said.startswith("".join(token["text"] for token in answer["tokens"])[:5])
        assert fed_ids(record) == list(run.seen.feeds[f"How many? {part}:", None].token_ids)
        assert all(unit["end_token"] <= len(record["prompt_tokens"]) for unit in record["units"])
        rows = record["step_scores"]["kl"]
        assert {len(row) for row in rows} == {len(answer["window"])}


@pytest.mark.parametrize(
    ("explained", "expected"),
    [
        ("start", "There"),
        ("end", "animals"),
        ("all", ANSWERS["fox"][0]),
        ({"regex": r"(\d) dogs"}, "4"),
        ({"regex": "no such thing"}, "There"),
    ],
)
def test_other_windows(lm, explained, expected):
    settings = {"explain": explained, "max_new_tokens": 5, "methods": ["kl"], "units": "segment"}
    _, run = explain(lm, [task()], settings)
    (record, *_) = run.records
    shown = window_text(record).strip()
    if explained == "end":
        assert expected.endswith(shown[-4:] or "nothing")
        assert record["answer"]["window"][-1] == len(record["answer"]["tokens"]) - 1
    else:
        assert shown.startswith(expected) or expected.startswith(shown)
    assert ("reason" in record["answer"] and record["answer"]["reason"] is not None) == (
        explained == {"regex": "no such thing"}
    )


def test_only_filters_that_take_a_span_out_change_the_default(lm):
    kept = [{"name": "whole", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}]
    settings = {"methods": ["kl"], "units": "segment", "max_new_tokens": 4}
    _, run = explain(lm, [task(filter_list=kept)], settings)
    assert {record["answer"]["explain"] for record in run.records} == {"start"}
    # Asked for, the whole text is what the metric saw.
    _, run = explain(lm, [task(filter_list=kept)], {**settings, "explain": "scored"})
    (record, *_) = run.records
    assert window_text(record).strip() == ANSWERS["fox"][0]
    assert record["answer"]["window"][0] == 0


def test_choices_are_explained_as_they_were(make_lm):
    ending = choices_task("endings", [("A bird", [" can fly", " is"])])
    scored, plain = (
        explain(make_lm(), [ending], settings)[1].records[0] for settings in ({"explain": "scored"}, {})
    )
    assert scored["scores"] == plain["scores"]
    assert scored["answer"] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"explain": "scored", "steps": "last"}, "explain='scored' cannot be combined with steps='last'"),
        ({"explain": "end", "preset": "reference"}, "explain='end' cannot be combined with steps='last'"),
        ({"explain": "all", "target": "choices"}, "explain='all' has no effect with target='choices'"),
        ({"scope": "reasoning", "explain": "start"}, "scope='reasoning' has nothing to take away"),
    ],
)
def test_contradictions_are_refused_before_anything_runs(make_lm, settings, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        explain(make_lm(), [task()], settings)


def test_the_reasoning_as_units_and_what_comes_out_anew(lm):
    settings = {
        "scope": ["content", "reasoning"],
        "units": "sentence",
        "methods": ["kl", "flip"],
        "select": {"strategy": "ids", "ids": [0]},
    }
    _, run = explain(lm, [task()], settings)
    (record,) = run.records
    assert record["status"] == "ok", record["reason"]
    assert not list(record_problems(record))
    reasoning = [unit for unit in record["units"] if unit["segment"] == "reasoning"]
    assert [unit["text"].strip() for unit in reasoning] == [
        "There are 3 foxes and 4 dogs.",
        "3 + 4 = 7.",
        "So there are",
    ]
    # The units count on from the prompt's tokens through the answer's.
    first = reasoning[0]["start_token"] - len(record["prompt_tokens"])
    assert first == 0
    flips = record["flips"]
    assert len(flips["into"]) == len(record["units"])
    assert record["scores"]["flip"] == [float(text != flips["answer"]) for text in flips["into"]]
    assert flips["rate"] == pytest.approx(sum(record["scores"]["flip"]) / len(record["units"]))
    read = Record.from_json(record)
    assert [read.read_text[slice(*span)] for span in read.spans] == [unit.text for unit in read.units]
    assert read.flips.rate == flips["rate"]


def test_flips_come_by_themselves_with_regenerated_hypotheses(lm):
    settings = {"hypotheses": "regenerate", "methods": ["kl"], "units": "segment", "max_new_tokens": 2}
    _, run = explain(lm, [task()], settings)
    asked = [record["flips"] is not None for record in run.records]
    assert asked == [number is not None for _, number in ANSWERS.values()]


def test_thoughts_are_reasoning(make_lm, shared_model, tokenizer):
    said = {"fox": "Is it 3? No. </think> It is 7 foxes"}
    lm = make_lm(saying(shared_model, tokenizer, said), think_end_token="</think>")
    settings = {"scope": "reasoning", "units": "sentence", "methods": ["kl"]}
    _, run = explain(lm, [task()], {**settings, "select": {"strategy": "ids", "ids": [0]}})
    (record,) = run.records
    assert record["status"] == "ok", record["reason"]
    assert record["target"]["response"] == "It is 7 foxes"
    assert window_text(record).strip() == "7"
    units = [unit["text"].strip() for unit in record["units"]]
    assert units[:2] == ["Is it 3?", "No."]
    assert {unit["segment"] for unit in record["units"]} == {"reasoning"}
