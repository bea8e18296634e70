"""Which characters each token stands for, whatever the text."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from gilot_plugin.attribution.prompt.tokens import (
    decode,
    locate_tokens,
    make_prompt,
    special_token_ids,
    token_label,
)
from gilot_plugin.attribution.types import Segment
from tests.attribution.texts import ANY_TEXT, MIXED

# The tokenizer is only read, so examples may share it.
property_test = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_spans_tile(text, tokens):
    """Spans are in order, without gaps, and the same or disjoint."""
    end, previous = 0, None
    for token in tokens:
        assert token.text == text[token.start : token.end]
        if previous is None or (token.start, token.end) != (previous.start, previous.end):
            assert token.start == end
        end, previous = token.end, token
    assert end == len(text)


@pytest.fixture(scope="module")
def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 2 has it: ``▁`` for spaces, bytes for unknown characters, no space before the first word."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += ["▁", "a", "b", "é", "你", "▁a", "ab", "▁ab", ".", "▁."]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    merges = [("▁", "a"), ("a", "b"), ("▁", "ab"), ("▁", ".")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


@property_test
@given(ANY_TEXT)
@example(MIXED)
@example("\ufffd😀")
@example("a\ufffd\ufffdb")
def test_byte_level_tokens(tiny_tokenizer, text):
    ids = tiny_tokenizer(text)["input_ids"]
    located, tokens = locate_tokens(tiny_tokenizer, ids)
    assert located == text
    assert [token.id for token in tokens] == ids
    assert_spans_tile(text, tokens)
    for token, following in pairwise(tokens):
        assert token.text
        if (token.start, token.end) == (following.start, following.end):
            assert not token.text.isascii()


@property_test
@given(ANY_TEXT)
@example(MIXED)
@example(" ab  ab")
@example("\ufffd😀")
def test_sentencepiece_tokens(sentencepiece_tokenizer, text):
    ids = sentencepiece_tokenizer(text)["input_ids"]
    located, tokens = locate_tokens(sentencepiece_tokenizer, ids)
    assert located == decode(sentencepiece_tokenizer, ids)
    assert [token.id for token in tokens] == ids
    assert_spans_tile(located, tokens)


def _bytes_of(tokenizer, one_byte):
    """Strategy: ids, many of them bytes that begin, continue or end no character."""
    pieces = [one_byte(byte) for byte in (0xEF, 0xBF, 0xBD, 0xE4, 0x80, 0xF0, 0x41)]
    ids = tokenizer.convert_tokens_to_ids(pieces)
    return st.lists(st.one_of(st.sampled_from(ids), st.integers(0, 268)), max_size=12)


@property_test
@given(st.data())
def test_any_ids(tiny_tokenizer, sentencepiece_tokenizer, data):
    # In the order of the bytes themselves, as byte-level tokenizers spell them.
    spelt = bytes_to_unicode()
    for tokenizer, one_byte in (
        (tiny_tokenizer, lambda byte: spelt[byte]),
        (sentencepiece_tokenizer, lambda byte: f"<0x{byte:02X}>"),
    ):
        ids = data.draw(_bytes_of(tokenizer, one_byte))
        text, tokens = locate_tokens(tokenizer, ids)
        assert text == decode(tokenizer, ids)
        assert [token.id for token in tokens] == ids
        assert_spans_tile(text, tokens)


def test_pieces_of_a_character_share_it(tiny_tokenizer):
    _, tokens = locate_tokens(tiny_tokenizer, tiny_tokenizer("a😀b")["input_ids"])
    assert [(token.text, token.start, token.end) for token in tokens] == [
        ("a", 0, 1),
        *[("😀", 1, 2)] * 4,
        ("b", 2, 3),
    ]


def test_character_that_is_cut_off_at_the_end(tiny_tokenizer):
    ids = tiny_tokenizer("a😀")["input_ids"][:-1]
    text, tokens = locate_tokens(tiny_tokenizer, ids)
    assert text == decode(tiny_tokenizer, ids)
    assert_spans_tile(text, tokens)
    assert tokens[0].text == "a"


def test_smollm2_reads_mixed_text(smollm2):
    ids = smollm2.tokenizer(MIXED)["input_ids"]
    text, tokens = locate_tokens(smollm2.tokenizer, ids)
    assert text == MIXED
    assert_spans_tile(text, tokens)


def test_labels(tiny_tokenizer):
    (piece, *_) = tiny_tokenizer("😀")["input_ids"]
    assert token_label(tiny_tokenizer, tiny_tokenizer(" can")["input_ids"][0]).startswith(" ")
    assert token_label(tiny_tokenizer, tiny_tokenizer.eos_token_id) == "</s>"
    assert token_label(tiny_tokenizer, piece) == tiny_tokenizer.convert_ids_to_tokens(piece)
    assert token_label(tiny_tokenizer, 5000) == "<token 5000>"


def test_special_tokens_are_found(tiny_tokenizer):
    assert special_token_ids(tiny_tokenizer) == {0, 1, 2}


def test_segments(tiny_tokenizer):
    text = "<s>Say: a dog</s>"
    ids = tiny_tokenizer(text)["input_ids"]
    segments = (Segment(3, 7, "template"), Segment(7, 13, "question"))
    prompt = make_prompt(tiny_tokenizer, ids, segments)
    assert prompt.text == text
    assert prompt.segments[0] == prompt.segments[-1] == "special"
    for token, segment in zip(prompt.tokens[1:-1], prompt.segments[1:-1], strict=True):
        # A token belongs where most of its characters other than spaces are.
        anchor = token.start + len(token.text) - len(token.text.lstrip())
        assert segment == ("template" if anchor < 7 else "question")


@pytest.mark.parametrize(
    ("first", "second"), [(1, "b"), (2, "b"), (3, "a")], ids=["most behind", "as many", "most before"]
)
def test_token_over_a_boundary(tiny_tokenizer, first, second):
    token_id = next(
        number
        for number in range(3, len(tiny_tokenizer))
        if len(tiny_tokenizer.decode([number]).strip()) == 4
    )
    assert len(tiny_tokenizer.decode([token_id])) == 4
    prompt = make_prompt(tiny_tokenizer, [token_id], (Segment(0, first, "a"), Segment(first, 4, "b")))
    assert prompt.segments == (second,)


def test_text_outside_every_segment_is_content(tiny_tokenizer):
    prompt = make_prompt(tiny_tokenizer, tiny_tokenizer("a dog")["input_ids"], (Segment(0, 1, "first"),))
    assert prompt.segments[0] == "first"
    assert set(prompt.segments[1:]) == {"content"}


def test_nothing(tiny_tokenizer):
    assert locate_tokens(tiny_tokenizer, []) == ("", ())
