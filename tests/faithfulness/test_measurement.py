from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gilot_plugin.attribution.prediction.greedy import Decoding
from gilot_plugin.attribution.types import TEMPLATE_SEGMENT, Prompt
from gilot_plugin.backends.transformers import TransformersBackend
from gilot_plugin.errors import ConfigError, PromptError
from gilot_plugin.faithfulness.measurement import measure_faithfulness
from gilot_plugin.faithfulness.ranked import RankedSample
from gilot_plugin.faithfulness.removal import removals_of
from gilot_plugin.faithfulness.store import ValueStore
from tests.attribution import serial
from tests.attribution.engine_calls import PROMPT, recipe
from tests.faithfulness.samples import (
    ANSWER_TOKENS,
    OTHER_PROMPT,
    RANKINGS,
    SPANS,
    CountingEmbedder,
    Numbering,
    absences,
    character_similarity,
    measured,
    sample,
)

EOS = (1,)


def merged(removed: Sequence[int]) -> list[tuple[int, int]]:
    return [SPANS[place] for place in removed]


def without(model: Any, prompt: Sequence[int], removed: Sequence[int], absence: str) -> serial.Reader:
    """Reads the prompt without several spans, by hand."""
    gone = {place for start, end in merged(removed) for place in range(start, end)}
    if absence == "delete" or not gone:
        return serial.plain_reader(model, [t for p, t in enumerate(prompt) if p not in gone] or [0])
    if absence == "replace":
        return serial.plain_reader(model, [4 if p in gone else t for p, t in enumerate(prompt)])
    kept = [place for place in range(len(prompt)) if place not in gone]
    cut = prompt[: kept[-1] + 1]
    gone &= set(range(len(cut)))
    return hidden_reader(model, cut, gone) if gone else serial.plain_reader(model, cut)


def hidden_reader(model: Any, prompt: Sequence[int], gone: set[int]) -> serial.Reader:
    def read(continuation: tuple[int, ...]) -> serial.FloatArray:
        length = len(prompt) + len(continuation)
        seen = torch.tensor([[place not in gone for place in range(length)]]).long()
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([[*prompt, *continuation]]),
                attention_mask=seen,
                position_ids=torch.arange(length)[None],
                use_cache=False,
            ).logits[0]
        return logits[len(prompt) - 1 :].double().log_softmax(-1).numpy()

    return read


@pytest.mark.parametrize("absence", ["delete", "mask", "replace"])
def test_curves_of_answers_are_those_of_one_prompt_at_a_time(
    tiny_model: Callable[[str], Any], absence: str
) -> None:
    model = tiny_model("llama")
    rankings = {"some": RANKINGS["some"]}
    found = measured(model, [sample(rankings=rankings)], absences(absence), batch_size=3)
    assert [(one.absence, one.ranking) for one in found] == [(absence, "some")]
    full = without(model, PROMPT, (), absence)
    answer = serial.greedy(full, ANSWER_TOKENS, EOS)
    said = tuple(token for token in answer if token not in EOS)
    embeddings = model.get_input_embeddings().weight

    def outcome(read: serial.Reader) -> serial.FloatArray:
        return serial.outcome(read, serial.searched_hypotheses(read, 2, 5, EOS), EOS, 5)

    def text(read: serial.Reader) -> str:
        return " ".join(str(t) for t in serial.greedy(read, ANSWER_TOKENS, EOS) if t not in EOS)

    for one in found:
        for order, sets in removals_of(RANKINGS[one.ranking])._asdict().items():
            assert one.answers is not None
            for fraction, removed in enumerate(sets):
                read = without(model, PROMPT, removed, absence)
                assert getattr(one.answers, order)[fraction] == text(read)
                for name, value in {
                    "similarity": character_similarity(text(full), text(read)),
                    "logprob": serial.sequence_logprob(read, said) / len(said),
                    "ot": serial.compare(outcome(full), outcome(read), embeddings).ot,
                }.items():
                    curve = getattr(one.quantities[name], order)
                    assert curve[fraction] == pytest.approx(value, abs=2e-5), (order, fraction, name)


@pytest.mark.parametrize("lengths", [None, (3, 2, 7)])
def test_curves_of_choices_are_those_of_one_prompt_at_a_time(
    tiny_model: Callable[[str], Any], lengths: tuple[int, ...] | None
) -> None:
    model = tiny_model("llama")
    options = ((20, 21), (33,), (40, 7, 9))
    (one, _) = measured(model, [sample(choices=options, lengths=lengths)], absences("delete"))
    assert one.answers is None
    divisors = np.array(lengths or (1, 1, 1))

    def values(removed: Sequence[int]) -> serial.FloatArray:
        read = without(model, PROMPT, removed, "delete")
        return np.array([serial.sequence_logprob(read, option) for option in options]) / divisors

    preferred = int(values(()).argmax())
    for fraction, removed in enumerate(removals_of(RANKINGS["some"]).morf):
        there = values(removed)
        lead = there[preferred] - np.delete(there, preferred).max()
        assert one.quantities["margin"].morf[fraction] == pytest.approx(lead, abs=1e-4)
        assert one.quantities["chosen"].morf[fraction] == float(there.argmax() == preferred)
    assert one.quantities["ot"].morf[0] == pytest.approx(0, abs=1e-9)
    assert one.quantities["chosen"].morf[0] == 1.0


def test_curves_begin_at_the_full_prompt_and_meet_at_the_end(tiny_model: Callable[[str], Any]) -> None:
    for one in measured(tiny_model("gpt2"), [sample()], absences("delete", "replace")):
        assert one.quantities["similarity"].morf[0] == 1.0
        assert one.quantities["ot"].morf[0] == 0.0
        for curves in one.quantities.values():
            assert curves.morf[0] == curves.lerf[0]
            assert curves.morf[-1] == curves.lerf[-1]


def test_a_reversed_ranking_mirrors_exactly(tiny_model: Callable[[str], Any]) -> None:
    ranking = RANKINGS["some"]
    (one, reverse) = measured(
        tiny_model("llama"),
        [sample(rankings={"it": ranking, "reversed": ranking[::-1]})],
        absences("delete"),
    )
    assert {name: curves.mirrored for name, curves in one.quantities.items()} == reverse.quantities
    assert reverse.quantities["logprob"].area == -one.quantities["logprob"].area


def test_samples_rankings_and_batches_do_not_change_one_another(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    samples = [sample(), sample(OTHER_PROMPT, {"some": RANKINGS["some"]}, 1)]
    recipes = absences("delete", "replace")
    together = measured(model, samples, recipes)
    alone = [
        found
        for one in samples
        for name, each in recipes.items()
        for found in measured(model, [one], {name: each}, batch_size=1)
    ]
    assert len(together) == 6
    for one, other in zip(together, alone, strict=True):
        assert (one.key, one.absence, one.ranking) == (other.key, other.absence, other.ranking)
        assert one.answers == other.answers
        for name, curves in one.quantities.items():
            assert curves.morf == pytest.approx(other.quantities[name].morf, abs=1e-5)
            assert curves.lerf == pytest.approx(other.quantities[name].lerf, abs=1e-5)


def test_progress_counts_every_reduced_prompt_once(tiny_model: Callable[[str], Any]) -> None:
    seen: list[tuple[int, int]] = []
    samples = [sample(), sample(OTHER_PROMPT, doc_id=1, choices=((4, 5), (6,)))]
    measured(tiny_model("llama"), samples, absences("delete"), progress=lambda *counts: seen.append(counts))
    sets = {removed for ranking in RANKINGS.values() for order in removals_of(ranking) for removed in order}
    total = 2 * len(sets)
    assert seen[0] == (0, total)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_run_goes_on_from_every_line_of_its_store(tiny_model: Callable[[str], Any], tmp_path: Path) -> None:
    model, recipes = tiny_model("llama"), absences("delete")
    short = {"some": (1, 0, 2)}
    samples = [sample(rankings=short, spans=SPANS[:3])]
    samples += [sample(OTHER_PROMPT, short, 1, spans=SPANS[1:4], choices=((4, 5), (6,)))]
    path = tmp_path / "values.jsonl"
    whole = measured(model, samples, recipes, ValueStore("tiny", path))
    lines = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        # The line that was being written is torn.
        path.write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        again = measured(model, samples, recipes, ValueStore("tiny", path))
        for one, other in zip(whole, again, strict=True):
            assert one.answers == other.answers
            for name, curves in one.quantities.items():
                assert curves.morf == pytest.approx(other.quantities[name].morf, abs=1e-5)
        keys = [line.split(b",")[0] for line in path.read_bytes().splitlines()]
        assert len(keys) == len(set(keys)) == len(lines), "nothing is computed twice"


def test_a_second_run_computes_nothing_and_gives_the_same_numbers(
    tiny_model: Callable[[str], Any], tmp_path: Path
) -> None:
    model, recipes, path = tiny_model("llama"), absences("delete", "mask"), tmp_path / "values.jsonl"
    first = measured(model, [sample()], recipes, ValueStore("tiny", path))
    content, embedder = path.read_bytes(), CountingEmbedder()
    backend = TransformersBackend(model)
    again = list(
        measure_faithfulness(
            backend,
            Numbering(),
            [sample()],
            recipes,
            embedder,  # type: ignore[arg-type]
            ValueStore("tiny", path),
            Decoding(ANSWER_TOKENS),
        )
    )
    assert again == first
    assert (path.read_bytes(), embedder.asked, backend.model_tokens) == (content, 0, 0)


@pytest.mark.parametrize(
    ("change", "grows"),
    [
        ({"num_beams": 3}, {"ot"}),
        ({"top_p": 0.5}, {"ot"}),
        ({"steps": "mean"}, {"ot"}),
        ({"solver": "sinkhorn"}, {"ot"}),
        ({"seed": 5}, set()),
    ],
)
def test_other_settings_take_only_what_does_not_depend_on_them(
    tiny_model: Callable[[str], Any], tmp_path: Path, change: dict[str, Any], grows: set[str]
) -> None:
    path = tmp_path / "values.jsonl"
    measured(tiny_model("llama"), [sample()], {"delete": recipe(num_beams=2)}, ValueStore("tiny", path))
    before = len(path.read_bytes().splitlines())
    other = recipe(**{"num_beams": 2, **change})
    measured(tiny_model("llama"), [sample()], {"delete": other}, ValueStore("tiny", path))
    new = path.read_bytes().decode().splitlines()[before:]
    assert {line.split('"name":')[1].split('"')[1] if '"name"' in line else "answer" for line in new} == grows


def test_another_model_takes_nothing(tiny_model: Callable[[str], Any], tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    first = measured(tiny_model("llama"), [sample()], absences("delete"), ValueStore("one", path))
    other = measured(tiny_model("qwen2"), [sample()], absences("delete"), ValueStore("two", path))
    fresh = measured(tiny_model("qwen2"), [sample()], absences("delete"))
    assert other == fresh
    assert other != first


def test_a_model_that_says_nothing_is_asked_how_likely_that_is(tiny_model: Callable[[str], Any]) -> None:
    model = tiny_model("llama")
    backend, read = TransformersBackend(model), serial.plain_reader(model, PROMPT)
    first = int(read(())[-1].argmax())
    backend.limits = replace(backend.limits, eos_token_ids=(first,))
    (one, _) = measure_faithfulness(
        backend,
        Numbering(),
        [sample()],
        absences("delete"),
        CountingEmbedder(),  # type: ignore[arg-type]
        ValueStore("tiny"),
        Decoding(ANSWER_TOKENS),
    )
    assert one.answers is not None
    assert one.answers.morf[0] == ""
    for fraction, removed in enumerate(removals_of(RANKINGS["some"]).morf):
        value = serial.sequence_logprob(without(model, PROMPT, removed, "delete"), (first,))
        assert one.quantities["logprob"].morf[fraction] == pytest.approx(value, abs=1e-5)


def test_units_of_the_template_are_refused(tiny_model: Callable[[str], Any]) -> None:
    plain = sample()
    segments = tuple(
        TEMPLATE_SEGMENT if place == 4 else name for place, name in enumerate(plain.prompt.segments)
    )
    within = RankedSample(
        plain.key, Prompt(plain.prompt.text, plain.prompt.tokens, segments), plain.units, plain.rankings
    )
    with pytest.raises(PromptError, match="never removed"):
        measured(tiny_model("llama"), [within], absences("delete"))


def test_what_does_not_fit_is_said_before_anything_is_computed(tiny_model: Callable[[str], Any]) -> None:
    backend = TransformersBackend(tiny_model("llama"))

    def run(asked: RankedSample, embedder: Any, tokens: int) -> None:
        curves = measure_faithfulness(
            backend, Numbering(), [asked], absences("delete"), embedder, ValueStore("x"), Decoding(tokens)
        )
        next(curves)

    with pytest.raises(PromptError, match="128"):
        run(sample(), CountingEmbedder(), 120)
    with pytest.raises(ConfigError, match="embedder"):
        run(sample(), None, 10)
    with pytest.raises(ValueError, match="each of the units once"):
        run(sample(rankings={"bad": (0, 1, 1, 2, 3, 4)}), CountingEmbedder(), 10)
    with pytest.raises(ValueError, match="not one of 6 units"):
        run(sample(rankings={"short": (0, 1)}), CountingEmbedder(), 10)
    with pytest.raises(PromptError, match="single choice"):
        run(sample(choices=((3,),)), None, 10)
    with pytest.raises(ConfigError, match="none of its quantities is asked for: 'chosen', 'margin', 'ot'"):
        measured(
            tiny_model("llama"), [sample(choices=((3,), (4,)))], absences("delete"), quantities=["logprob"]
        )
    assert backend.model_tokens == 0
