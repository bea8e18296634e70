import json
from pathlib import Path

import pytest

from gilot_plugin.backends.rows import Row
from gilot_plugin.errors import ArtifactError
from gilot_plugin.faithfulness.store import NewAnswer, NewNumber, ValueStore

VALUES = [NewAnswer("a", (3, 1, 4), "pi"), NewNumber("b", "ot", 0.1 + 0.2), NewAnswer("c", (), "")]


def test_what_was_added_is_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "values.jsonl"
    store = ValueStore("model", path)
    store.add(VALUES[:2])
    store.add(VALUES[2:])
    store.add([])
    again = ValueStore("model", path)
    assert again.answers == store.answers == {"a": (3, 1, 4), "c": ()}
    assert again.numbers == store.numbers == {"b": 0.1 + 0.2}
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b", "c"]


def test_a_file_that_is_cut_anywhere_loses_what_is_behind_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    ValueStore("model", path).add(VALUES)
    content = path.read_bytes()
    for end in range(len(content)):
        path.write_bytes(content[:end])
        store = ValueStore("model", path)
        # A line without its end is whole all the same.
        whole = sum(len(line) <= end - at for at, line in _lines(content))
        assert len(store.answers) + len(store.numbers) == whole
        store.add(VALUES)
        again = ValueStore("model", path)
        assert again.answers == {"a": (3, 1, 4), "c": ()}
        assert again.numbers == {"b": 0.1 + 0.2}


def _lines(content: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    for line in content.splitlines():
        found.append((at, line))
        at += len(line) + 1
    return found


def test_lines_that_are_none_of_a_store_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    path.write_text('{"key": "x"}\n[]\n7\n\nnonsense\n{"key": "y", "answer": 5}\n{"key": "z", "value": 2}\n')
    store = ValueStore("model", path)
    assert (store.answers, store.numbers) == ({}, {"z": 2.0})


def test_keys_differ_in_all_that_values_depend_on() -> None:
    row = Row((1, 2, 3))
    rows = [row, Row((1, 2)), Row((1, 2, 3), attended=(True, False, True)), Row((1, 2, 3), (0, 2, 3)), None]
    keys = [ValueStore("m").key("ot", one, 4) for one in rows]
    keys += [ValueStore("n").key("ot", row, 4), ValueStore("m").key("logprob", row, 4)]
    keys += [ValueStore("m").key("ot", row, 5), ValueStore("m").key("ot", row, 4, 4)]
    assert len(set(keys)) == len(keys)
    assert ValueStore("m").key("ot", Row((1, 2, 3)), 4) == keys[0]


def test_numbers_that_are_none_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "values.jsonl"
    with pytest.raises(ArtifactError):
        ValueStore("model", path).add([NewNumber("k", "ot", float("nan"))])
    assert not path.exists()


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=tmp_path.name):
        ValueStore("model", tmp_path)
