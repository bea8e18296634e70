"""The faithfulness benchmark from instructions to tables, and the settings that it compares."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import coalitions
import faithfulness
import pytest
import transformers
from faithfulness_arms import PARTS
from faithfulness_tables import Attributed

from gilot_plugin.plugins.offers import attribution_methods
from gilot_plugin.settings.config import GilotConfig

ARMS = [arm for arms in PARTS.values() for arm in arms]
NAMES = [arm.ranking(method) for arm in ARMS for method in arm.methods]


@pytest.fixture
def _coalitions() -> Iterator[None]:
    with coalitions.offered():
        yield


@pytest.mark.usefixtures("_coalitions")
@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: f"{arm.label} {arm.methods[0]}")
def test_settings_of_arms_are_settings(arm: Any) -> None:
    config = GilotConfig(**arm.settings, methods=arm.methods)
    assert {name: getattr(config, name) for name in arm.settings} == dict(arm.settings)
    assert set(arm.methods) <= set(attribution_methods())


def test_no_two_rankings_have_the_same_name() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.usefixtures("_coalitions")
def test_no_two_arms_have_the_same_settings() -> None:
    hashes = [GilotConfig(**arm.settings, methods=arm.methods).hash for arm in ARMS]
    assert len(set(hashes)) == len(hashes)


def test_rankings_agree_by_the_ranks_that_they_give() -> None:
    # Ranks of units 0 to 3: 0 1 2 3 and 1 0 2 3, so Spearman's rho is 1 - 6 (1 + 1) / (4 * 15) = 0.8.
    samples = [{"a": (0, 1, 2, 3), "b": (1, 0, 2, 3)}, {"a": (2, 0, 1), "b": (1, 0, 2)}]
    assert Attributed(samples[:1], {}, {}).agreement("a", "b") == pytest.approx(0.8)
    # The second is the first reversed: -1.
    assert Attributed(samples, {}, {}).agreement("a", "b") == pytest.approx(-0.1)
    # A single unit has no order.
    single = [*samples[:1], {"a": (0,), "b": (0,)}]
    assert Attributed(single, {}, {}).agreement("a", "b") == pytest.approx(0.8)


@pytest.fixture
def model_dir(make_tiny_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path: Path) -> Path:
    """A tiny model with room for the instructions."""
    folder = tmp_path / "model"
    make_tiny_model("llama", max_position_embeddings=512).save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_two_rankings_of_two_instructions_make_a_table(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does another file of instructions."""
    for name in ("set_verbosity_error", "disable_progress_bar"):  # would outlast the test
        monkeypatch.setattr(transformers.logging, name, lambda: None)
    rankings = ["ot (K=1, J=1)", "l2 (K=4, J=1)"]
    options = {
        "model_args": f"pretrained={model_dir},dtype=float32",
        "part": "grid",
        "limit": "2",
        "max_answer_tokens": "4",
        "random_rankings": "1",
        "quantities": "logprob",
        "against": rankings[0],
        "output": str(tmp_path / "out"),
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    chosen = [part for name in rankings for part in ("--ranking", name)]
    monkeypatch.setattr("sys.argv", ["faithfulness.py", *arguments, *chosen])
    faithfulness.main()
    table, values = (tmp_path / "out" / name for name in ("tables.md", "values.jsonl"))
    text, kept = table.read_text(), values.read_bytes()
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        "### logprob, delete: log-probability of the full prompt's answer, nats a token"
    ]
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ")]
    assert f"| ranks like {rankings[0]} |" in text
    assert [row.strip("| ") for row in rows[2:]] == [*rankings, "random", "first_to_last", "last_to_first"]
    answers = [line for line in map(json.loads, kept.splitlines()) if "answer" in line]
    assert len(answers) == 2

    faithfulness.main()
    assert (table.read_text(), values.read_bytes()) == (text, kept)

    others = tmp_path / "others.jsonl"
    instructions = faithfulness.INSTRUCTIONS.read_text(encoding="utf-8").splitlines()[:2]
    asked = [{"question": line["prompt"], "id": line["id"]} for line in map(json.loads, instructions)]
    others.write_text("".join(json.dumps(line) + "\n" for line in asked))
    monkeypatch.setattr(
        "sys.argv", ["faithfulness.py", *arguments, *chosen, "--prompts", str(others), "--field", "question"]
    )
    faithfulness.main()
    assert "2 instructions (others.jsonl, dev)" in table.read_text()
    # What the model says to the same texts is known.
    assert [line for line in values.read_text().splitlines() if '"answer"' in line] == [
        line for line in kept.decode().splitlines() if '"answer"' in line
    ]


@pytest.fixture
def _no_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(source: Any) -> Any:
        raise AssertionError("a model loads")

    monkeypatch.setattr(faithfulness, "load_model", load)


@pytest.mark.usefixtures("_no_model_loads")
def test_a_quantity_that_answers_lack_is_refused_before_a_model_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["faithfulness.py", "--quantities", "logprob,margin"])
    with pytest.raises(SystemExit, match="--quantities margin: allowed are 'similarity', 'logprob', 'ot'"):
        faithfulness.main()


@pytest.mark.usefixtures("_no_model_loads")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as JSON lines: .*No such file"),
        ("Add 2 and 3.\n", "cannot be read as JSON lines"),
        ('{"question": "Add 2 and 3."}\n["Add"]\n', "line 2, has no field 'question'; --field says which"),
        ('{"prompt": "Add 2 and 3."}\n', "line 1, has no field 'question'; --field says which"),
    ],
)
def test_a_file_without_instructions_is_refused_before_a_model_loads(
    content: str | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "instructions.jsonl"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    monkeypatch.setattr("sys.argv", ["faithfulness.py", "--prompts", str(path), "--field", "question"])
    with pytest.raises(SystemExit, match=message):
        faithfulness.main()
