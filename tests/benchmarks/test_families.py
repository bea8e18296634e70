"""The table of families: what is measured of each kind, and, slowly, of every one that there is."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import families
import pytest
import transformers

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"

#: One of each kind, and how it is read: positions learned, rotary, by distance; windows told by argument or
#: by mask alone; chunks; latent keys; sinks; states; scalings by length; layers that come round again; models
#: of images, and those that read something else than tokens.
KINDS = {
    "llama": "trees",
    "mistral": "trees",
    "gemma2": "trees",
    "gemma3_text": "trees",
    "qwen2_moe": "trees",
    "phimoe": "trees",
    "gpt2": "trees",
    "gpt_oss": "trees",
    "doge": "cache",
    "gpt_neo": "cache",
    "bloom": "cache",
    "falcon": "cache",
    "llama4_text": "cache",
    "deepseek_v3": "cache",
    "mamba": "cache",
    "jamba": "cache",
    "rwkv": "whole",
    "dory": "trees",
    "gemma3": "trees",
    "gemma4_unified": "cache",
    "musicgen": "refused",
    "llama, llama3": "trees",
    "llama, yarn": "trees",
    "llama, dynamic": "trees, then whole",
    "phi3, longrope": "trees, then whole",
}


def rows_of(document: str) -> dict[str, list[str]]:
    """Cells of the table, by family."""
    lines = re.findall(r"^\| (.*) \|$", document, flags=re.MULTILINE)[2:]
    return {cells[0]: cells[1:] for cells in (line.split(" | ") for line in lines)}


@pytest.fixture(scope="module")
def built():
    return dict(families.every_family())


@pytest.mark.parametrize("family", KINDS)
def test_what_is_read_is_what_plain_passes_say(built, family):
    if family not in built:
        pytest.skip(f"transformers {transformers.__version__} has no {family}")
    outcome = families.measure(family, built[family])
    assert outcome.reading == KINDS[family], outcome
    assert outcome.defects == 0
    assert outcome.reason or (outcome.reading == "trees" and outcome.masks)
    if outcome.reading == "refused":
        assert re.match(r"cannot attribute \w+: ", outcome.reason)
    else:
        assert outcome.error <= families.CLOSE


def test_document_has_every_family_once():
    """Families come and go with releases; the document names the one that it was made with."""
    rows = rows_of(DOCUMENT.read_text(encoding="utf-8"))
    assert set(KINDS) <= set(rows)
    for family, (reading, masks, reason) in rows.items():
        assert masks in ("yes", "no")
        assert reason or (reading == "trees" and masks == "yes"), family
        assert reading in ("trees", "trees, then whole", "cache", "whole", "refused")
        assert "defect" not in reason


def test_model_that_is_read_otherwise_is_named(monkeypatch, capsys, built):
    monkeypatch.setattr(families, "every_family", lambda: iter([("llama", built["llama"])]))
    monkeypatch.setattr(families, "errors", lambda backend, model: 0.5)
    monkeypatch.setattr("sys.argv", ["families.py", "llama"])
    assert families.main() == 1
    assert "other than plain passes: llama" in capsys.readouterr().out


def test_family_that_cannot_be_built_has_a_reason():
    def fail():
        raise ValueError("no such\nsize")

    outcome = families.measure("x", fail)
    assert outcome == ("x", "-", False, "not built: ValueError: no such size", None, 0)
    assert "| x | - | no | not built: ValueError: no such size |" in families.table([outcome])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_family_is_read_as_plain_passes_say():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcomes = [families.measure(*one) for one in families.every_family()]
    wrong = [one for one in outcomes if one.error is not None and not one.error <= families.CLOSE]
    assert not wrong
    assert [one for one in outcomes if one.defects] == []
    document = DOCUMENT.read_text(encoding="utf-8")
    if f"transformers {transformers.__version__}." in document:
        known = {family: cells[:2] for family, cells in rows_of(document).items()}
        assert {one.family: [one.reading, "yes" if one.masks else "no"] for one in outcomes} == known
