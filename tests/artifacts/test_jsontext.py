from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gilot_plugin.artifacts import jsontext
from gilot_plugin.errors import ArtifactError


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "\ud800",
        "a\udfffb",
        "\ud83d\ude00",
        "😀",
        "\u2028\u2029\x85",
        "\x1b[31m\x9b31m",
        "\u202e abc",
        "\ufffd.",
        "\r\n",
    ],
)
def test_any_text_comes_back_from_one_line_of_utf_8(text: str) -> None:
    line = jsontext.dumps({"text": text})
    assert len(line.splitlines()) == 1
    assert not any("\x7f" <= character <= "\x9f" or character < " " for character in line)
    # Two halves of a pair are one character to JSON.
    expected = json.loads(json.dumps(text))
    assert json.loads(line.encode("utf-8"))["text"] == expected


def test_text_stays_readable() -> None:
    assert jsontext.dumps("Größe 任务") == '"Größe 任务"'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused_by_field(value: float) -> None:
    with pytest.raises(ArtifactError, match=r"scores\.ot\[1\] is -?(nan|inf)"):
        jsontext.dumps({"scores": {"ot": [0.5, value]}})


def test_what_is_not_json_is_refused() -> None:
    with pytest.raises(ArtifactError, match="Path is not JSON"):
        jsontext.dumps({"path": Path("a")})


def test_numbers_of_numpy_and_torch_are_numbers() -> None:
    value = {"a": np.float32(0.5), "b": np.int64(3), "c": torch.tensor([1, 2]), "d": np.array([[0.5]])}
    assert json.loads(jsontext.dumps(value)) == {"a": 0.5, "b": 3, "c": [1, 2], "d": [[0.5]]}


def test_plain_reduces_anything_to_strict_json() -> None:
    value = {
        "finite": 0.5,
        "nan": math.nan,
        "infinite": [math.inf, -math.inf, np.float32(np.inf)],
        "tensor": torch.tensor([0.5, math.nan]),
        "flag": np.bool_(True),
        "pair": ("gold", "said"),
        "path": Path("a/b"),
        3: None,
    }
    assert jsontext.plain(value) == {
        "finite": 0.5,
        "nan": "NaN",
        "infinite": ["Infinity", "-Infinity", "Infinity"],
        "tensor": [0.5, "NaN"],
        "flag": True,
        "pair": ["gold", "said"],
        "path": "a/b",
        "3": None,
    }
    assert float(jsontext.plain(-math.inf)) == -math.inf


def test_field_paths() -> None:
    assert jsontext.field_path(["units", 3, "text"]) == "units[3].text"
    assert jsontext.field_path(["metrics", "acc,none"]) == "metrics['acc,none']"
    assert jsontext.field_path(["\x1b[31m"]) == "['\\x1b[31m']"
    assert jsontext.field_path([]) == ""
