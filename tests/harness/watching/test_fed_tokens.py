"""The tokens of a record are those that went into the model when it was evaluated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch

from tests.harness.evaluations import choices_task, evaluate, explain, fed_ids, generation_task

pytestmark = pytest.mark.lm_eval

TEXTS = [
    "What?",
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "Which animal can fly? A bird can fly; a dog cannot fly.",
    "Ends with spaces  ",
    "Naïve 東京 🦊 text",
    " begins with one",
]

#: Endings of one token and of several, which lm-eval scores in one and in several passes.
ENDINGS = [" dog", " jumps over the moon", "bird", "\n東"]

CHAT = {"apply_chat_template": True, "system_instruction": "Be brief."}

#: How the model is set up, and how prompts are made.
CASES: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alone": ({"batch_size": 1}, {}),
    "alone, cut": ({"batch_size": 1, "max_length": 20}, {}),
    "padded": ({"batch_size": 4}, {}),
    "padded, cut": ({"batch_size": 4, "max_length": 20}, {}),
    "padded, chat": ({"batch_size": 4}, CHAT),
    "padded, cut, chat": ({"batch_size": 4, "max_length": 20}, CHAT),
    "with beginning of sequence": ({"add_bos_token": True}, {}),
    "with beginning of sequence, cut": ({"add_bos_token": True, "max_length": 20}, {}),
    "with beginning of sequence, chat": ({"add_bos_token": True}, CHAT),
    "without beginning of sequence": ({"add_bos_token": False}, {}),
    "without beginning of sequence, cut": ({"add_bos_token": False, "max_length": 20}, {}),
    "logits not shared": ({"logits_cache": False}, {}),
}

#: Only the prompts are looked at here.
CHEAPEST = {"scope": "all", "units": "segment", "methods": ["l2"], "num_beams": 1, "max_new_tokens": 1}


class Watched:
    """Records the rows that a model was fed, without their padding on the left."""

    def __init__(self, model: Any) -> None:
        self.scored: list[list[int]] = []
        self.continued: list[list[int]] = []
        self._model = model

    def __enter__(self) -> Watched:
        model, generate = self._model, self._model.generate
        generating = False

        def watched_generate(input_ids: torch.Tensor, attention_mask: torch.Tensor, **settings: Any) -> Any:
            nonlocal generating
            for ids, attended in zip(input_ids.tolist(), attention_mask.tolist(), strict=True):
                self.continued.append([token for token, seen in zip(ids, attended, strict=True) if seen])
            generating = True
            try:
                return generate(input_ids=input_ids, attention_mask=attention_mask, **settings)
            finally:
                generating = False

        def watch_forward(module: Any, inputs: tuple[torch.Tensor, ...], named: Any) -> None:
            if not generating:
                self.scored.extend(inputs[0].tolist())

        model.generate = watched_generate
        self._handle = model.register_forward_pre_hook(watch_forward, with_kwargs=True)
        return self

    def __exit__(self, *_: object) -> None:
        del self._model.generate
        self._handle.remove()


def watched_and_explained(
    lm: Any, tasks: Sequence[Any], **arguments: Any
) -> tuple[Watched, list[Mapping[str, Any]]]:
    """What an evaluation without the plugin feeds, and the records of one with it."""
    with Watched(lm.model) as watched:
        plain = evaluate(lm, tasks, **arguments)
    _, run = explain(lm, tasks, CHEAPEST, **arguments)
    assert len(run.records) == sum(map(len, plain["samples"].values()))
    return watched, run.records


@pytest.mark.parametrize("case", CASES)
def test_generation(make_lm: Callable[..., Any], case: str) -> None:
    settings, arguments = CASES[case]
    lm = make_lm(**settings)
    watched, records = watched_and_explained(lm, [generation_task("answers", TEXTS)], **arguments)
    assert [record["status"] for record in records] == ["ok"] * len(TEXTS)
    assert sorted(map(fed_ids, records)) == sorted(watched.continued)
    cut = [record["diagnostics"]["truncated_tokens"] for record in records]
    assert any(cut) == ("max_length" in settings)
    for record, dropped in zip(records, cut, strict=True):
        if dropped:
            assert len(fed_ids(record)) == lm.max_length - 4


@pytest.mark.parametrize("case", CASES)
def test_choices(make_lm: Callable[..., Any], case: str) -> None:
    settings, arguments = CASES[case]
    lm = make_lm(**settings)
    task = choices_task("endings", [(text, ENDINGS) for text in TEXTS])
    watched, records = watched_and_explained(lm, [task], **arguments)
    rows = {tuple(row) for row in watched.scored}
    explained = [record for record in records if record["status"] == "ok"]
    assert len(explained) == len(TEXTS)
    for record in explained:
        prompt, cut = fed_ids(record), record["diagnostics"]["truncated_tokens"]
        # The last token of a choice is only predicted; what is right of it is padding.
        for choice in record["target"]["choices"]:
            row = [*prompt, *choice["token_ids"][:-1]]
            # With a short choice, more of the prompt fits into the window than was explained.
            assert any(is_fed(row, fed, may_begin_earlier=cut > 0) for fed in rows), choice["text"]
        longest = max(len(choice["token_ids"]) for choice in record["target"]["choices"])
        if cut:
            assert len(prompt) + longest == lm.max_length + 1
    assert any(record["diagnostics"]["truncated_tokens"] for record in explained) == (
        "max_length" in settings
    )


def is_fed(row: list[int], fed: Sequence[int], may_begin_earlier: bool) -> bool:
    for start in range(len(fed) - len(row) + 1 if may_begin_earlier else 1):
        end = start + len(row)
        if list(fed[start:end]) == row and not any(fed[end:]):
            return True
    return False


def test_truncated_tokens_count_what_is_missing(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    lm = make_lm(max_length=20)
    tasks = [
        generation_task("answers", TEXTS),
        choices_task("endings", [(text, [" dog", " bird"]) for text in TEXTS]),
    ]
    _, records = watched_and_explained(lm, tasks)
    for record, text in zip(records, [*TEXTS, *TEXTS], strict=True):
        # lm-eval moves spaces at the end of a context into its continuations.
        whole = tokenizer(text if record["task"] == "answers" else text.rstrip())["input_ids"]
        assert whole[record["diagnostics"]["truncated_tokens"] :] == fed_ids(record)


def test_spaces_at_the_end_belong_to_the_choices(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    lm = make_lm()
    task = choices_task("endings", [("The lazy  ", ["dog", "cat"])], target_delimiter="")
    _, (record,) = watched_and_explained(lm, [task])
    assert fed_ids(record) == tokenizer("The lazy")["input_ids"]
    assert [tokenizer.decode(choice["token_ids"]) for choice in record["target"]["choices"]] == [
        "  dog",
        "  cat",
    ]


def test_spaces_at_the_end_are_fed_to_generation(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    _, (record,) = watched_and_explained(make_lm(), [generation_task("answers", ["The lazy  "])])
    assert fed_ids(record) == tokenizer("The lazy  ")["input_ids"]


def test_beginning_of_sequence_is_there_once(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    """The chat template writes it, and the tokenizer would add another one."""
    tasks = [generation_task("answers", TEXTS[:1]), choices_task("endings", [(TEXTS[0], ENDINGS)])]
    for chat in (False, True):
        _, records = watched_and_explained(make_lm(add_bos_token=True), tasks, apply_chat_template=chat)
        for record in records:
            assert [token["text"] for token in record["prompt_tokens"]].count(tokenizer.bos_token) == 1


def test_empty_context(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    """lm-eval feeds the beginning of sequence, which leaves nothing to take away."""
    lm, tasks = make_lm(), [choices_task("endings", [("", ENDINGS), ("A bird", ENDINGS)])]
    with Watched(lm.model) as watched:
        evaluate(lm, tasks)
    _, run = explain(lm, tasks)
    skipped, explained = run.records
    assert (skipped["status"], explained["status"]) == ("skipped", "ok")
    assert "nothing in the prompt can be taken away with scope='content'" in skipped["reason"]
    for ending in ENDINGS:
        feed = run.seen.feeds["", f" {ending}"]
        assert feed.token_ids == (tokenizer.bos_token_id,)
        assert any(
            is_fed([*feed.token_ids, *feed.continuation_ids[:-1]], fed, False) for fed in watched.scored
        )


def test_mutual_information_asks_without_context_too(make_lm: Callable[..., Any], tokenizer: Any) -> None:
    metrics = [
        {"metric": metric, "aggregation": "mean", "higher_is_better": True}
        for metric in ("acc", "acc_mutual_info")
    ]
    task = choices_task("endings", [(text, ENDINGS) for text in TEXTS[:3]], metric_list=metrics)
    _, records = watched_and_explained(make_lm(), [task])
    for record, text in zip(records, TEXTS, strict=False):
        assert record["status"] == "ok"
        assert fed_ids(record) == tokenizer(text)["input_ids"]
        assert [choice["text"] for choice in record["target"]["choices"]] == [
            f" {ending}" for ending in ENDINGS
        ]


@pytest.fixture
def read_prompts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Prompts without an absent unit that the attribution gives to the model."""
    from gilot_plugin.backends.rows import Row
    from gilot_plugin.backends.transformers import TransformersBackend

    read: list[tuple[int, ...]] = []
    score = TransformersBackend.score

    def spy(self: Any, queries: Any, room: Any) -> Any:
        read.extend(query.full.token_ids for query in queries if isinstance(query.full, Row))
        return score(self, queries, room)

    monkeypatch.setattr(TransformersBackend, "score", spy)
    return read


def test_attribution_starts_from_the_tokens_of_the_record(
    make_lm: Callable[..., Any], read_prompts: list[tuple[int, ...]]
) -> None:
    tasks = [generation_task("answers", TEXTS), choices_task("endings", [(text, ENDINGS) for text in TEXTS])]
    _, run = explain(make_lm(max_length=20), tasks, CHEAPEST)
    for record in run.records:
        assert tuple(fed_ids(record)) in read_prompts
