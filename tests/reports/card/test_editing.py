from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.card.editing import BEGIN, END, new_card, read_card, with_section

CARD = b"""---
license:   apache-2.0   # chosen in May
tags: [ "a" ,b]
---
# My model

Text  with trailing blanks
"""


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        CARD.rstrip(),
        CARD.replace(b"\n", b"\r\n"),
        b"\xef\xbb\xbf" + CARD,
        b"# No header\n",
        b"",
        "# Ünïcödé 東京\n".encode(),
    ],
)
def test_all_but_the_section_stays(card: bytes, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(card)
    before = read_card(path)
    assert before is not None
    written = with_section(before, "## Found\n\nfirst\n")
    assert written.startswith(card)
    path.write_bytes(written + b"after\n")
    again = read_card(path)
    assert again is not None
    renewed = with_section(again, "second, and longer\n")
    head, _, tail = renewed.partition(BEGIN)
    assert head == written.partition(BEGIN)[0]
    assert tail.partition(END)[2] == written.partition(END)[2] + b"after\n"
    assert b"first" not in renewed
    assert with_section(renewed, "second, and longer\n") == renewed


def test_lines_end_as_those_of_the_card() -> None:
    windows = with_section(CARD.replace(b"\n", b"\r\n"), "a\n\nb\n")
    assert windows.count(b"\n") == windows.count(b"\r\n")
    assert b"\r" not in with_section(CARD, "a\n\nb\n")


def test_a_new_card_has_a_valid_header(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(with_section(new_card("My model"), "text"))
    card = ModelCard.load(path)
    assert card.data.library_name == "transformers"
    assert card.data.tags == ["lm-evaluation-harness", "gilot"]
    assert card.text.startswith("\n# My model\n")
    assert read_card(path) == path.read_bytes()


def test_a_card_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_card(tmp_path / "README.md") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"---\na: [\n---\n", "YAML header is not valid"),
        (b"---\n- a\n- b\n---\n", "YAML header is not valid"),
        (b"---\nmodel-index:\n- name: x\n  results: 3\n---\n", "YAML header is not valid"),
        (b"\xff\xfe", "cannot be read as a model card"),
        (BEGIN, "markers are broken: 1 of '<!-- gilot:begin -->' and 0"),
        (END + BEGIN, "markers are broken"),
        (BEGIN + END + BEGIN + END, "markers are broken: 2"),
    ],
)
def test_a_broken_card_is_refused_and_left_alone(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_card(path)
    assert path.read_bytes() == content
