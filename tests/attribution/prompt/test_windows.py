"""Windows of answers, and prompts with what was said after them."""

from __future__ import annotations

import pytest

from gilot_plugin.attribution.prompt.tokens import locate_tokens, make_prompt
from gilot_plugin.attribution.prompt.units import make_units
from gilot_plugin.attribution.prompt.windows import as_fed, continued, find_window, span_window, text_of
from gilot_plugin.errors import ConfigError, PromptError
from tests.attribution.engine_calls import prompt_of

TOKENS = prompt_of([5, 6, 7, 8, 9]).tokens


@pytest.mark.parametrize(
    ("explain", "length", "expected"),
    [
        ("start", 2, (0, 2)),
        ("start", 9, (0, 5)),
        ("end", 2, (3, 5)),
        ("end", 9, (0, 5)),
        ("all", 1, (0, 5)),
        ({"regex": "<7>"}, 2, (2, 3)),
        ({"regex": "7><8"}, 2, (2, 4)),
        ({"regex": "<9>|<(6)>"}, 2, (1, 2)),
        ({"regex": "<9>|<10>"}, 2, (4, 5)),
        ({"regex": "x*"}, 2, (0, 2)),
        ({"regex": "no"}, 2, (0, 2)),
    ],
)
def test_windows_of_an_answer(explain, length, expected):
    found = find_window(TOKENS, explain, length)
    assert (found.start, found.stop) == expected
    assert found.before == TOKENS[: expected[0]]
    assert found.token_ids == tuple(token.id for token in TOKENS[slice(*expected)])
    assert found.described.window == tuple(range(*expected))
    assert found.described.tokens == TOKENS[: expected[1]]
    nothing_found = isinstance(explain, dict) and explain["regex"] in ("x*", "no")
    assert (found.reason is not None) == nothing_found
    assert found.is_start == (explain == "start" or nothing_found)


def test_an_empty_answer_has_an_empty_window():
    for explain in ("start", "end", "all"):
        assert find_window((), explain, 3).token_ids == ()
    assert find_window((), {"regex": "a"}, 3).reason is not None


def test_a_span_within_characters_takes_all_their_pieces(tiny_tokenizer):
    """Each of the bytes of an emoji is a token of its own here."""
    _, tokens = locate_tokens(tiny_tokenizer, tiny_tokenizer("a😀b", add_special_tokens=False)["input_ids"])
    window = span_window(tokens, (1, 2), "scored", "😀")
    assert text_of(tokens[window.start : window.stop]) == "😀"
    assert window.stop - window.start == 4


def test_what_was_said_is_a_part_of_its_own(tiny_tokenizer):
    prompt = make_prompt(tiny_tokenizer, tiny_tokenizer("A bird can fly.")["input_ids"])
    _, said = locate_tokens(
        tiny_tokenizer, tiny_tokenizer(" It is. So", add_special_tokens=False)["input_ids"]
    )
    whole = continued(prompt, said)
    assert whole.text == prompt.text + " It is. So"
    assert as_fed(whole, len(said)) == prompt
    assert as_fed(prompt, 0) is prompt
    of_content = make_units(whole, "sentence", "content")
    assert [unit.text for unit in of_content] == [
        unit.text for unit in make_units(prompt, "sentence", "content")
    ]
    reasoning = make_units(whole, "sentence", "reasoning")
    assert [unit.text.strip() for unit in reasoning] == ["It is.", "So"]
    assert {unit.segment for unit in reasoning} == {"reasoning"}
    both = make_units(whole, "sentence", ("content", "reasoning"))
    assert both == (*of_content, *reasoning)
    assert all(unit.segment != "reasoning" for unit in make_units(whole, "token", "all"))
    with pytest.raises(PromptError, match="nothing in the prompt can be taken away"):
        make_units(prompt, "sentence", "reasoning")


def test_single_prompts(tiny_model, tiny_tokenizer):
    import gilot_plugin

    def window(explain, response="One two. The dog can fly"):
        found = gilot_plugin.attribute(
            tiny_model("llama"), tiny_tokenizer, "A bird can",
            {"explain": explain, "max_new_tokens": 2, "methods": ["kl"], "units": "segment"},
            response=response,
        )  # fmt: skip
        assert found.prompt.text.endswith("A bird can")
        (row,) = found.step_scores["kl"]
        assert len(row) == len(found.answer.window)
        return "".join(found.answer.tokens[place].text for place in found.answer.window)

    assert window({"regex": "dog"}).strip() == "dog"
    assert window("all") == "One two. The dog can fly"
    assert "One two. The dog can fly".endswith(window("end"))
    assert "One two. The dog can fly".startswith(window("start"))
    assert window("auto") == window("start")
    with pytest.raises(ConfigError, match="explain='scored'"):
        window("scored")
    with pytest.raises(ConfigError, match="give the response"):
        window("end", response=None)
