"""Quantities that are asked for, and nothing else, are measured as in a run with all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.attribution.prediction.greedy import Decoding
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import ConfigError
from gilot_plugin.faithfulness.curves import GENERATION_QUANTITIES, LOGPROB, QUANTITIES, quantities_named
from gilot_plugin.faithfulness.measurement import measure_faithfulness
from gilot_plugin.faithfulness.removal import removals_of
from gilot_plugin.faithfulness.store import ValueStore
from tests.attribution.engine_calls import PROMPT
from tests.faithfulness.samples import (
    ANSWER_TOKENS,
    OTHER_PROMPT,
    RANKINGS,
    SPANS,
    CountingEmbedder,
    Numbering,
    absences,
    measured,
    sample,
)


@pytest.mark.parametrize(
    "asked", [["similarity"], ["logprob"], ["ot"], ["ot", "logprob"], ["chosen", "similarity"]]
)
def test_fewer_quantities_have_the_same_values(tiny_model: Callable[[str], Any], asked: list[str]) -> None:
    model = tiny_model("llama")
    samples = [sample(), sample(OTHER_PROMPT, doc_id=1)]
    if "chosen" in asked or "ot" in asked:
        samples.append(sample(OTHER_PROMPT, doc_id=2, choices=((20, 21), (33,), (40, 7))))
    whole = measured(model, samples, absences("delete", "mask"))
    some = measured(model, samples, absences("delete", "mask"), quantities=asked)
    for one, all_of_it in zip(some, whole, strict=True):
        assert (one.key, one.absence, one.ranking) == (all_of_it.key, all_of_it.absence, all_of_it.ranking)
        assert set(one.quantities) == set(asked) & set(all_of_it.quantities)
        assert one.answers == (all_of_it.answers if "similarity" in asked else None)
        for name, curves in one.quantities.items():
            assert curves.morf == pytest.approx(all_of_it.quantities[name].morf, abs=1e-5)
            assert curves.lerf == pytest.approx(all_of_it.quantities[name].lerf, abs=1e-5)


@pytest.mark.parametrize(
    ("hypotheses", "asked", "answers", "numbers"),
    [
        ("regenerate", ["logprob"], 1, {"logprob"}),
        ("regenerate", ["ot"], 0, {"ot"}),
        ("response", ["ot"], 1, {"ot"}),
        ("regenerate", ["logprob", "ot"], 1, {"logprob", "ot"}),
        ("regenerate", ["similarity"], "all", {"similarity"}),
    ],
)
def test_what_nobody_asks_for_is_not_computed(
    tiny_model: Callable[[str], Any],
    hypotheses: str,
    asked: list[str],
    answers: int | str,
    numbers: set[str],
    tmp_path: Path,
) -> None:
    embedder, path = CountingEmbedder(), tmp_path / "values.jsonl"
    store, recipes = ValueStore("tiny", path), absences("delete", hypotheses=hypotheses)
    measured(tiny_model("llama"), [sample()], recipes, store, embedder, quantities=asked)
    sets = {removed for ranking in RANKINGS.values() for order in removals_of(ranking) for removed in order}
    assert len(store.answers) == (len(sets) if answers == "all" else answers)
    assert (embedder.asked > 0) == ("similarity" in asked)
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["name"] for line in kept if "name" in line} == numbers
    # What was left out is all that a run with everything adds, as if it had been the first.
    measured(tiny_model("llama"), [sample()], recipes, store)
    fresh = ValueStore("tiny")
    measured(tiny_model("llama"), [sample()], recipes, fresh)
    assert (set(store.answers), set(store.numbers)) == (set(fresh.answers), set(fresh.numbers))


def test_log_probabilities_alone_feed_one_answer_and_each_reduced_prompt_once(
    tiny_model: Callable[[str], Any],
) -> None:
    """Fewer model tokens than one answer a reduced prompt would take."""
    backend = TransformersBackend(tiny_model("llama"))
    backend.limits = replace(backend.limits, eos_token_ids=())  # so that the answer is as long as it may be
    (some, _) = measure_faithfulness(
        backend,
        Numbering(),
        [sample()],
        absences("delete"),
        None,
        ValueStore("tiny"),
        Decoding(ANSWER_TOKENS),
        quantities=[LOGPROB],
    )
    assert set(some.quantities) == {"logprob"}
    units = [end - start for start, end in SPANS]
    sets = {removed for ranking in RANKINGS.values() for order in removals_of(ranking) for removed in order}
    prompts = [len(PROMPT) - sum(units[place] for place in removed) for removed in sets]
    most = sum(length + ANSWER_TOKENS for length in (*prompts, len(PROMPT)))
    assert 0 < backend.model_tokens <= most


@pytest.mark.parametrize("asked", [["logprob"], ["similarity", "ot"], []])
def test_progress_ends_with_all_prompts_whatever_is_asked_for(
    tiny_model: Callable[[str], Any], asked: list[str]
) -> None:
    seen: list[tuple[int, int]] = []
    store = ValueStore("tiny")
    for _ in range(2):
        seen.clear()
        measured(
            tiny_model("llama"),
            [sample()],
            absences("delete"),
            store,
            progress=lambda *counts: seen.append(counts),
            quantities=asked,
        )
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)
        assert seen[0] == (0, seen[0][1])
        assert seen[-1] == (seen[0][1], seen[0][1])


def test_quantities_are_known_by_their_names() -> None:
    assert quantities_named(["ot", "similarity"]) == (QUANTITIES["similarity"], QUANTITIES["ot"])
    assert quantities_named([], GENERATION_QUANTITIES) == GENERATION_QUANTITIES
    with pytest.raises(ConfigError, match="--quantities margin: allowed are 'similarity', 'logprob', 'ot'"):
        quantities_named(["ot", "margin"], GENERATION_QUANTITIES)
