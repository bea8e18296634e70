"""``gilot check``: what is said of models that are read at full speed, slowly, or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM

from gilot_plugin import cli
from gilot_plugin.backends.tree import reader
from tests.commands.conftest import Gilot


def folder_of(make: Callable[..., Any], tokenizer: Any, family: str, folder: Path) -> str:
    """``--model_args`` for a tiny model of a family."""
    make(family, max_position_embeddings=128).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return f"pretrained={folder}"


def test_a_model_at_full_speed(gilot: Gilot, model_dir: Path) -> None:
    ended = gilot("check", "--model_args", f"pretrained={model_dir},dtype=float32", "--device", "cpu")
    assert ended.code == cli.DONE
    assert ended.out.splitlines() == [
        "model: LlamaForCausalLM, torch.float32, on cpu",
        "key-value cache: used",
        "prefix trees: used",
        "absence by masking, with positions kept: possible",
    ]


def test_a_model_that_is_read_whole(
    gilot: Gilot, make_tiny_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    arguments = folder_of(make_tiny_model, tokenizer, "recurrent_gemma", tmp_path)
    ended = gilot("check", "--model", "hf", "--model_args", arguments, "--device", "cpu")
    assert ended.code == cli.DONE
    _, *lines, cost = ended.out.splitlines()
    assert lines == [
        "key-value cache: not used: padding changes what it predicts",
        "prefix trees: not used: padding changes what it predicts",
        "absence by masking, with positions kept: not possible: masked tokens still show in what it predicts",
    ]
    # The prompts, alone and with the answer; or one of them, what comes behind each cut, and each answer.
    read = 32 + 32 * 31 + 37 + 32 * 36
    with_trees = 31 + 1 + sum(max(1, 31 - place) for place in range(32)) + 33 * 5
    assert f"{read:,} instead of {with_trees:,} for a prompt of 32 tokens" in cost
    assert cost.startswith(f"cost: {read / with_trees:.1f} times the tokens")


def test_a_cache_that_takes_one_token_at_a_time_is_no_defect(
    gilot: Gilot, make_tiny_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    arguments = folder_of(make_tiny_model, tokenizer, "mamba", tmp_path)
    ended = gilot("check", "--model_args", arguments, "--device", "cpu")
    assert ended.code == cli.DONE
    _, *lines, cost = ended.out.splitlines()
    assert lines == [
        "key-value cache: used",
        "prefix trees: not used: its cache takes one token at a time",
        "absence by masking, with positions kept: not possible: it numbers the positions itself",
    ]
    # Each prompt once, and each answer.
    assert f"{32 + 32 * 31 + 33 * 5:,} instead of" in cost


def test_logits_that_nobody_wants_are_told(
    gilot: Gilot, make_tiny_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    sizes = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64}
    make_tiny_model("trocr", **sizes).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    ended = gilot("check", "--model_args", f"pretrained={tmp_path}", "--device", "cpu")
    assert ended.code == cli.DONE
    # A prompt is read for one token, and again with the answer for five.
    every = 32 + 32 * 31 + 37 + 32 * 36
    assert ended.out.splitlines()[-1] == (
        f"logits: of {every:,} tokens, where those of {33 * 6} are wanted: the model cannot be told which are"
    )


def test_a_model_that_reads_no_ids_is_refused(
    gilot: Gilot, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(self: Any, inputs_embeds: Any = None, **_: Any) -> Any:
        raise ValueError("inputs_embeds cannot be None.")

    monkeypatch.setattr(LlamaForCausalLM, "forward", forward)
    ended = gilot("check", "--model_args", f"pretrained={model_dir}", "--device", "cpu")
    assert ended.code == cli.FAILED
    assert ended.err.splitlines()[-1] == (
        "error: cannot attribute LlamaForCausalLM: it does not read token ids by themselves (ValueError: "
        "inputs_embeds cannot be None.)"
    )


def test_an_error_while_it_is_tried_out_is_shown(
    gilot: Gilot, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise AttributeError("renamed by the next release")

    monkeypatch.setattr(reader, "Halves", broken)
    ended = gilot("check", "--model_args", f"pretrained={model_dir}", "--device", "cpu")
    assert ended.code == cli.FAILED
    assert "prefix trees: not used: trees cannot be read (AttributeError: renamed by the next" in ended.out
    assert re.search(r"^defect, .*: AttributeError: renamed by the next release$", ended.out, re.M)
    assert re.search(r"^cost: [1-9]\.\d times", ended.out, re.M)


def test_what_cannot_be_loaded_is_a_wrong_command(gilot: Gilot, tmp_path: Path) -> None:
    assert gilot("check").code == cli.WRONG
    for arguments in (["--model_args", f"pretrained={tmp_path}"], ["--model_args", "x"]):
        ended = gilot("check", *arguments, "--device", "cpu")
        assert ended.code == cli.WRONG
        assert "error: --model" in ended.err
