import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from gilot_plugin.attribution.execution import Execution
from gilot_plugin.attribution.prediction.greedy import Decoding, greedy_answers
from gilot_plugin.backends.rows import Row
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import BudgetError, NonFiniteLogitsError

TOKENS = 14
#: Enough of them that answers end at all lengths.
ENDS = (1, *range(50, 66))


def rows(count: int = 10) -> list[Row]:
    """Prompts of different lengths, some of them masked, at least one twice."""
    drawn = random.Random(0)
    plain = [Row(tuple(drawn.randrange(3, 320) for _ in range(drawn.randint(2, 16)))) for _ in range(count)]
    return [*plain, *map(masked, plain[: count // 2]), plain[0]]


def masked(row: Row) -> Row:
    length = len(row.token_ids)
    return Row(
        row.token_ids, attended=tuple(place % 3 != 1 or place == length - 1 for place in range(length))
    )


def backend_of(model: Any, **settings: Any) -> TransformersBackend:
    backend = TransformersBackend(model, **settings)
    backend.limits = replace(backend.limits, eos_token_ids=ENDS)
    return backend


def answered(backend: TransformersBackend, asked: list[Row], **settings: Any) -> dict[Row, tuple[int, ...]]:
    found: dict[Row, tuple[int, ...]] = {}
    for batch in greedy_answers(backend, asked, Decoding(TOKENS, Execution(**settings))):
        assert found.keys().isdisjoint(batch)
        found |= batch
    return found


def generated(model: Any, row: Row) -> tuple[int, ...]:
    """One prompt by itself: with ``generate``, or by hand where attention to tokens is off."""
    ids = torch.tensor([row.token_ids])
    if row.attended is None:
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=TOKENS,
            eos_token_id=list(ENDS),
            pad_token_id=2,
        )
        return tuple(output[0, ids.shape[1] :].tolist())
    said: list[int] = []
    while len(said) < TOKENS and not (said and said[-1] in ENDS):
        fed = torch.tensor([[*row.token_ids, *said]])
        seen = torch.tensor([[*row.attended, *(True for _ in said)]]).long()
        with torch.no_grad():
            logits = model(
                input_ids=fed,
                attention_mask=seen,
                position_ids=torch.arange(fed.shape[1])[None],
                use_cache=False,
            ).logits
        said.append(int(logits[0, -1].argmax()))
    return tuple(said)


@pytest.mark.parametrize(
    ("family", "trees"),
    [("llama", True), ("llama", False), ("gpt2", True), ("gemma3_text", True), ("gemma3_text", False)],
)
def test_answers_are_those_of_one_prompt_at_a_time(
    tiny_model: Callable[[str], Any], family: str, trees: bool
) -> None:
    model = tiny_model(family)
    asked = rows()
    found = answered(backend_of(model, trees=trees), asked, batch_size=6)
    assert found == {row: generated(model, row) for row in asked}


@pytest.mark.parametrize("family", ["mamba", "lfm2", "bloom"])
def test_models_that_take_no_positions_answer_too(tiny_model: Callable[[str], Any], family: str) -> None:
    model = tiny_model(family)
    asked = [row for row in rows(8) if row.attended is None]
    found = answered(backend_of(model), asked, batch_size=5)
    assert found == {row: generated(model, row) for row in asked}


def test_the_batch_size_changes_no_answer(tiny_model: Callable[[str], Any]) -> None:
    backend = backend_of(tiny_model("llama"))
    alone = answered(backend, rows(20), batch_size=1)
    lengths = {len(answer) for answer in alone.values()}
    assert len(lengths) > 4, "rows are to leave their batch at different times"
    for size in (2, 7, None):
        assert answered(backend, rows(20), batch_size=size) == alone


def test_rows_that_have_ended_are_not_fed_any_more(tiny_model: Callable[[str], Any]) -> None:
    backend = backend_of(tiny_model("llama"))
    asked = [row for row in dict.fromkeys(rows(30)) if row.attended is None]
    found = answered(backend, asked, batch_size=len(asked))
    read = sum(len(row.token_ids) for row in asked)
    fed = backend.model_tokens - read
    needed = sum(len(answer) - 1 for answer in found.values())
    assert needed <= fed < needed + 0.6 * (len(asked) * (TOKENS - 1) - needed)


def test_no_prompts_have_no_answers(tiny_model: Callable[[str], Any]) -> None:
    assert list(greedy_answers(backend_of(tiny_model("llama")), [], Decoding())) == []


def test_answers_of_one_token(tiny_model: Callable[[str], Any]) -> None:
    model, asked = tiny_model("llama"), rows()
    (found,) = greedy_answers(backend_of(model), asked, Decoding(1, Execution(batch_size=50)))
    assert found == {row: generated(model, row)[:1] for row in asked}


def test_a_budget_that_is_too_small_is_said_at_once(tiny_model: Callable[[str], Any]) -> None:
    with pytest.raises(BudgetError, match="memory_budget"):
        answered(backend_of(tiny_model("llama")), rows(), memory_budget=1000)


def test_nan_is_refused(make_tiny_model: Callable[..., Any]) -> None:
    model = make_tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = float("nan")
    with pytest.raises(NonFiniteLogitsError):
        answered(backend_of(model), rows(2))
