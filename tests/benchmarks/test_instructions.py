"""The instructions that faithfulness is measured on: complete, varied, and split without overlap."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

FILE = Path(__file__).parents[2] / "benchmarks" / "instructions.jsonl"
LINES = FILE.read_text(encoding="utf-8").splitlines()
ENTRIES = [json.loads(line) for line in LINES]
PROMPTS = [entry["prompt"] for entry in ENTRIES]

#: Share of words that two prompts may have in common at most, of all words of either.
MOST_ALIKE = 0.7


def test_ids_count_from_1():
    assert [entry["id"] for entry in ENTRIES] == list(range(1, 121))


def test_entries_say_nothing_else():
    assert all(set(entry) == {"id", "split", "prompt"} for entry in ENTRIES)


def test_splits_are_equally_large():
    splits = [entry["split"] for entry in ENTRIES]
    assert set(splits) == {"dev", "held_out"}
    assert splits.count("dev") == splits.count("held_out") == 60


def test_lengths_in_words():
    lengths = [len(prompt.split()) for prompt in PROMPTS]
    assert min(lengths) >= 8
    assert max(lengths) <= 25
    assert 12 <= sum(lengths) / len(lengths) <= 16


def test_prompts_are_plain_text():
    assert all(prompt.isascii() and prompt == " ".join(prompt.split()) for prompt in PROMPTS)


def test_both_splits_are_as_long():
    totals = {
        split: sum(len(entry["prompt"].split()) for entry in ENTRIES if entry["split"] == split)
        for split in ("dev", "held_out")
    }
    assert abs(totals["dev"] - totals["held_out"]) < 0.1 * totals["dev"]


def test_no_two_prompts_are_nearly_the_same():
    words = [frozenset(re.findall(r"[a-z']+", prompt.lower())) for prompt in PROMPTS]
    alike = [
        (first["prompt"], second["prompt"])
        for (first, ours), (second, theirs) in combinations(zip(ENTRIES, words, strict=True), 2)
        if len(ours & theirs) > MOST_ALIKE * len(ours | theirs)
    ]
    assert not alike
