"""Units cover what is in scope, once, in order, and cut through no token and no character."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gilot_plugin.attribution.prompt.tokens import make_prompt
from gilot_plugin.attribution.prompt.units import UNIT_KINDS, cut_unit, make_units
from gilot_plugin.attribution.types import FIXED_SEGMENTS, Prompt, Segment, Token
from gilot_plugin.errors import PromptError
from tests.attribution.texts import ANY_TEXT, MIXED


@st.composite
def segmented_texts(draw):
    """A text, and named segments that lie one after the other in it with gaps."""
    text = draw(ANY_TEXT)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4, unique=True)))
    names = ["template", "user", "few_shot"]
    return text, [Segment(*span, names[number % 3]) for number, span in enumerate(pairwise(cuts))]


def texts_of(prompt, units, scope="content"):
    return [unit.text for unit in make_units(prompt, units, scope)]


def prompt_of(pieces):
    """A prompt whose tokens are the given pieces of text."""
    ends = list(accumulate(map(len, pieces)))
    tokens = tuple(Token(9, piece, end - len(piece), end) for piece, end in zip(pieces, ends, strict=True))
    return Prompt("".join(pieces), tokens, ("content",) * len(tokens))


@pytest.fixture(scope="module")
def read(tiny_tokenizer):
    """The prompt of a text, with segments."""

    def read(text, segments=(), special=False):
        ids = tiny_tokenizer(text)["input_ids"]
        return make_prompt(tiny_tokenizer, [0, *ids, 1] if special else ids, segments)

    return read


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segmented_texts(), st.booleans(), st.sampled_from(["all", "content", "user"]))
@example((MIXED, []), True, "all")
@example((MIXED, [Segment(3, 9, "user"), Segment(9, 17, "template")]), True, "content")
def test_units_of_any_text(read, segmented, special, scope):
    text, segments = segmented
    prompt = read(text, segments if not special else (), special)
    in_scope = [
        index
        for index, segment in enumerate(prompt.segments)
        if scope == "all" or (segment not in FIXED_SEGMENTS if scope == "content" else segment == scope)
    ]
    for kind in UNIT_KINDS:
        if not in_scope:
            with pytest.raises(PromptError):
                make_units(prompt, kind, scope)
            continue
        units = make_units(prompt, kind, scope)
        covered = [index for unit in units for index in range(unit.start_token, unit.end_token)]
        assert covered == in_scope
        for unit in units:
            members = prompt.tokens[unit.start_token : unit.end_token]
            assert unit.text == prompt.text[members[0].start : members[-1].end]
            assert set(prompt.segments[unit.start_token : unit.end_token]) == {unit.segment}
        if kind == "token":
            assert all(unit.end_token == unit.start_token + 1 for unit in units)
        else:
            for unit, following in pairwise(units):
                last, first = prompt.tokens[unit.end_token - 1], prompt.tokens[following.start_token]
                assert last.end <= first.start


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(segmented_texts())
@example((MIXED, [Segment(3, 9, "user"), Segment(9, 17, "template")]))
def test_pieces_of_a_unit_cover_it(read, segmented):
    prompt = read(*segmented)
    if not prompt.tokens:
        return
    for kind in UNIT_KINDS:
        for unit in make_units(prompt, kind, "all"):
            assert unit.level == kind
            inside = range(unit.start_token, unit.end_token)
            for level in UNIT_KINDS:
                pieces = cut_unit(prompt, unit, level)
                covered = [index for piece in pieces for index in range(piece.start_token, piece.end_token)]
                assert covered == list(inside)
                assert {(piece.segment, piece.level) for piece in pieces} == {(unit.segment, level)}
            assert len(cut_unit(prompt, unit, kind)) == 1
            assert len(cut_unit(prompt, unit, "token")) == len(inside)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT)
@example(MIXED)
def test_regex_units_take_the_tokens_of_the_matches_and_no_others(read, text):
    prompt = read(text)
    matched = {place for place, character in enumerate(text) if character in "abc你好😀"}
    touched = [
        index for index, token in enumerate(prompt.tokens) if matched & set(range(token.start, token.end))
    ]
    try:
        units = make_units(prompt, {"regex": "[abc你好😀]+"})
    except PromptError:
        units = ()
    assert [index for unit in units for index in range(unit.start_token, unit.end_token)] == touched
    assert {unit.level for unit in units} <= {"regex"}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_TEXT)
def test_regex_units_of_any_text(read, text):
    prompt = read(text)
    pattern = r"[a-zA-Z]+|\p{Han}|😀"
    expected = {index for index, character in enumerate(text) if character.isascii() and character.isalpha()}
    expected |= {index for index, character in enumerate(text) if character in "你好世界😀"}
    try:
        units = make_units(prompt, {"regex": pattern})
    except PromptError:
        units = ()
    taken: set[int] = set()
    for unit, following in pairwise(units):
        assert unit.end_token <= following.start_token
    for unit in units:
        members = prompt.tokens[unit.start_token : unit.end_token]
        span = range(members[0].start, members[-1].end)
        assert taken.isdisjoint(span)
        taken.update(span)
    assert expected <= taken


def test_words(read):
    prompt = read("The dog can't fly, can it?")
    assert texts_of(prompt, "word") == ["The", " dog", " can't", " fly", ",", " can", " it", "?"]


def test_words_of_scripts_without_spaces(read):
    latin = ["Is", " it", " '", "naïve", "'", "?"]
    chinese = [" 你", "好", "\N{FULLWIDTH COMMA}", "世", "界", "！"]
    others = [" مرحبا", " بالعالم", " 👩‍👩‍👧", " e\u0301a\u0308", " 🇫🇷", "\n\n\ttail", "  "]
    assert texts_of(read(MIXED), "word") == latin + chinese + others


def test_sentences(read):
    prompt = read("It flies. 'Does it?' he said! 你好。 世界！Yes…  no\nend")
    assert texts_of(prompt, "sentence") == [
        "It flies. ",
        "'Does it?' ",
        "he said! ",
        "你好。 ",
        "世界！",
        "Yes…  ",
        "no\n",
        "end",
    ]


def test_lines(read):
    assert texts_of(read("a dog\n\nb cat\n"), "line") == ["a dog\n", "\n", "b cat\n"]


@pytest.mark.parametrize(
    ("pieces", "units", "expected"),
    [
        # The empty second line has no token of its own.
        (["one", "\n\n", "two"], "line", ["one\n\n", "two"]),
        # A break in the middle of a token that is white space on one side of it.
        (["one", " \n ", "two"], "line", ["one \n ", "two"]),
        (["one", "\n ", "two"], "line", ["one\n ", "two"]),
        (["one.", " two", "."], "sentence", ["one.", " two."]),
        # A token that holds the end of one and the beginning of the next.
        (["fly", ".\nA", " bird", "\n", "no"], "line", ["fly.\nA bird\n", "no"]),
        (["ca", "n't", " fly"], "word", ["can't", " fly"]),
        (["two", " words in one", " token"], "word", ["two", " words in one", " token"]),
    ],
)
def test_token_over_a_boundary(pieces, units, expected):
    assert texts_of(prompt_of(pieces), units) == expected


def test_segments_are_units(read):
    text = "Question: can it fly? Answer:"
    prompt = read(text, [Segment(0, 9, "template"), Segment(9, 21, "user"), Segment(21, 29, "template")])
    assert texts_of(prompt, "segment", "all") == ["Question:", " can it fly?", " Answer:"]
    assert texts_of(prompt, "segment") == [" can it fly?"]
    assert [unit.segment for unit in make_units(prompt, "segment", "all")] == ["template", "user", "template"]


def test_special_tokens_are_never_content(read):
    prompt = read("a dog", special=True)
    assert texts_of(prompt, "word") == ["a", " dog"]
    assert texts_of(prompt, "word", "all") == ["<s>", "a", " dog", "</s>"]
    assert texts_of(prompt, "segment", "special") == ["<s>", "</s>"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"\d+", [" 12"]),
        ("um", [" number"]),
        ("two: is", [" two: is"]),
        # One unit a match, also side by side.
        (r"\w+", ["One", " two", " is", " 12", " a", " number"]),
        (" 12| a", [" 12", " a"]),
        # Matches that share a token are one unit.
        ("n|m|r", ["One", " number"]),
        ("s 1|2 a", [" is 12 a"]),
        # An empty match takes nothing.
        ("(?=w)|One", ["One"]),
    ],
)
def test_regex_units(pattern, expected):
    prompt = prompt_of(["One", ",", " two", ":", " is", " 12", " a", " number", "?"])
    assert texts_of(prompt, {"regex": pattern}) == expected


def test_regex_that_matches_nothing_but_the_empty_text():
    with pytest.raises(PromptError):
        make_units(prompt_of(["two", " dogs"]), {"regex": "x*"})


@pytest.mark.parametrize(
    ("units", "scope"), [("word", "user"), ({"regex": "x"}, "content"), ("token", "none")]
)
def test_nothing_in_scope(read, units, scope):
    with pytest.raises(PromptError, match="nothing in the prompt can be taken away") as error:
        make_units(read("a dog"), units, scope)
    assert "segments: content" in str(error.value)


def test_prompt_without_tokens(read):
    with pytest.raises(PromptError, match="0 tokens"):
        make_units(read(""), "word")
