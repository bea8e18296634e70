from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gilot_plugin.artifacts.reader import StoredRun
from gilot_plugin.attribution.types import Flips, Flow, Hypothesis
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.terminal import Filter, show_run
from tests.artifacts import factories
from tests.reports import answers

#: Of the factories' text: Is the film not good ?
SCORES = {"ot": [0.0, 0.01, 0.05, 0.5, 0.25, -0.1], "kl": [0.4, 0.0, 0.0, 0.0, 0.0, 0.0]}
SELECT_GRAPHICS = re.compile(r"\x1b\[[\d;]*m")


def make_run(*records: dict[str, Any], manifest: dict[str, Any] | None = None) -> StoredRun:
    return StoredRun(Path("out"), manifest, records)


def plain(*records: dict[str, Any], width: int = 120, encoding: str = "utf-8", **options: Any) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show_run(make_run(*records), Console(file=file, width=width, color_system=None), **options)
    file.flush()
    return raw.getvalue().decode(encoding)


def coloured(*records: dict[str, Any], color_system: Any = "truecolor", **options: Any) -> str:
    file = io.StringIO()
    # The environment of whoever runs the tests may say NO_COLOR.
    console = Console(file=file, width=120, force_terminal=True, color_system=color_system, no_color=False)
    show_run(make_run(*records), console, **options)
    return file.getvalue()


def test_without_colour_digits_tell_the_scores() -> None:
    shown = plain(factories.make_record(scores=SCORES))
    assert "<s>User: Is the «film:1» «not:9» «good:5»«?:-2»↵\nAnswer:" in shown
    assert "«unit:N» N tenths of the largest ot, 0.5 (9: nine or more); -N: the other way" in shown
    assert "\x1b" not in shown


def test_in_colour_the_ground_tells_the_scores() -> None:
    shown = coloured(factories.make_record(scores=SCORES))
    assert "«" not in shown
    # The highest class of the scale behind "not", the paper behind "the", fainter ink outside the units.
    assert re.search(r"38;2;255;255;255;48;2;102;37;6mnot\x1b", shown)
    assert re.search(r"48;2;255;255;255m Is the \x1b", shown)
    assert re.search(r"38;2;107;107;107;48;2;255;255;255m<s>User:\x1b", shown)
    assert "tenths of 0.5, the largest" in SELECT_GRAPHICS.sub("", shown)


def test_few_colours_are_no_colours() -> None:
    assert "«not:9»" in coloured(factories.make_record(scores=SCORES), color_system="standard")


def test_no_color_is_obeyed_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    file = io.StringIO()
    show_run(
        make_run(factories.make_record(scores=SCORES)),
        Console(file=file, width=120, force_terminal=True, color_system="truecolor"),
    )
    assert "«not:9»" in SELECT_GRAPHICS.sub("", file.getvalue())
    assert "38;2" not in file.getvalue()


def test_the_header_names_the_sample_and_the_verdict() -> None:
    shown = plain(factories.make_record(doc_id=7, scores=SCORES))
    assert "films · doc 7 · ok · exact_match: correct · tiny-model" in shown


def test_top_units_come_with_their_flows() -> None:
    lines = plain(factories.make_record(scores=SCORES)).splitlines()
    ranked = [line for line in lines if "content" in line]
    assert re.match(r'1 +"not" +content +0\.5 +█{10} +without "not": " no" → " yes" 0\.31', ranked[0].strip())
    assert [re.findall(r'"(\w+|\?)" +content', line)[0] for line in ranked] == [
        "not",
        "good",
        "?",
        "film",
        "the",
        "Is",
    ]
    assert re.search(r"-0\.1 +██ +", ranked[2])


def test_a_narrow_terminal_names_each_unit_once() -> None:
    lines = plain(factories.make_record(scores=SCORES), width=80).splitlines()
    assert not any("without " in line and "→" in line for line in lines)
    assert any('" no" → " yes" 0.31' in line for line in lines)
    assert max(map(len, lines)) <= 80


def test_only_the_first_ten_units_are_listed() -> None:
    record = factories.make_record(text="<s>" + "word " * 30)
    assert plain(record).count("content") == 10


def test_what_the_model_would_say_is_shown() -> None:
    shown = plain(factories.make_record(scores=SCORES))
    assert '0.750  " no" · ends here' in shown
    assert '0.250  " yes, it"\n' in shown
    assert 'response: " no"' in shown
    assert "outside support 0.0001 · transport gap 2e-09 · 1,234 model tokens · 1.25 s" in shown


def test_choices_are_shown_likeliest_first() -> None:
    shown = plain(factories.make_record(choices=factories.CHOICES[::-1]))
    assert shown.index('0.600  " no"') < shown.index('0.400  " yes"')


def test_a_skipped_sample_shows_its_reason() -> None:
    assert "skipped: the \\x1b[1m prompt is empty" in plain(
        factories.make_skipped(reason="the \x1b[1m prompt is empty")
    )


def test_another_method_can_be_shown() -> None:
    shown = plain(factories.make_record(scores=SCORES), method="kl")
    assert "«Is:9»" in shown
    assert "«not" not in shown


def test_without_ot_the_first_method_is_shown() -> None:
    assert "«film:9»" in plain(
        factories.make_record(scores={"kl": [0, 0, 1, 0, 0, 0], "l2": [1, 0, 0, 0, 0, 0]})
    )


def test_samples_without_the_method_say_so() -> None:
    other = factories.make_record(doc_id=1, scores={"l2": [1, 0, 0, 0, 0, 0]})
    shown = plain(factories.make_record(scores=SCORES), other, method="kl")
    assert "no scores by method 'kl'; there are 'l2'" in shown


def test_methods_that_failed_are_named_with_their_reasons() -> None:
    def fail(record: dict[str, Any]) -> None:
        record["diagnostics"]["failed_methods"] = {"gradient": "ValueError: no embeddings"}

    broken = factories.edited(factories.make_record(scores=SCORES), fail)
    told = "no scores by method 'gradient', it failed: ValueError: no embeddings"
    assert told in plain(broken)
    whole = factories.make_record(doc_id=1, scores={"gradient": [1, 0, 0, 0, 0, 0]})
    shown = plain(broken, whole, method="gradient")
    assert shown.count("gradient") > shown.count(told) == 1
    with pytest.raises(ArtifactError, match=told):
        plain(broken, method="gradient")


def test_scores_that_are_all_zero_mark_nothing() -> None:
    shown = plain(factories.make_record(scores={"ot": [0.0] * 6}))
    assert "ot: every score is 0" in shown
    assert "«" not in shown


def test_samples_are_chosen_by_task_and_document() -> None:
    records = (
        factories.make_record(doc_id=0),
        factories.make_record(doc_id=1),
        factories.make_record("pairs", 1, choices=factories.CHOICES),
    )
    found = re.findall(r"^(\w+) · doc (\d)", plain(*records, chosen=Filter(task="films")), flags=re.MULTILINE)
    assert found == [("films", "0"), ("films", "1")]
    found = re.findall(r"^(\w+) · doc (\d)", plain(*records, chosen=Filter(doc_id=1)), flags=re.MULTILINE)
    assert found == [("films", "1"), ("pairs", "1")]
    limited = plain(*records, limit=1)
    assert limited.count("· doc") == 1
    assert "not shown: 2 more" in limited


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chosen": Filter(task="books")}, "no records of task 'books'; there are 'films', 'pairs'"),
        ({"chosen": Filter(doc_id=9)}, "no record of document 9; there are 0, 1"),
        ({"chosen": Filter(task="films", doc_id=1)}, "no record of document 1 of task 'films'; there are 0"),
        ({"method": "lime"}, "no scores by method 'lime'; there are 'ot', 'kl'"),
    ],
)
def test_what_is_not_there_is_answered_by_what_is(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        plain(factories.make_record(), factories.make_record("pairs", 1), **options)


def test_a_run_without_records_says_why() -> None:
    manifest = factories.make_manifest([factories.make_record()])
    manifest["tasks"]["films"]["selection"] |= {"chosen": [], "error": "no metric \x1b[1m'f1'"}
    with pytest.raises(
        ArtifactError, match=r"no records; nothing was chosen of 'films': no metric \\x1b\[1m'f1'"
    ):
        show_run(make_run(manifest=manifest), Console(file=io.StringIO()))


def test_a_broken_record_is_refused_in_words() -> None:
    record = factories.edited(factories.make_record(), lambda r: r["scores"]["ot"].pop())
    with pytest.raises(
        ArtifactError, match=r"document 0, is broken: scores\.ot: 5 scores for 6 units.*gilot validate"
    ):
        plain(record)


HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m [bold]loud[/bold] [link=file:///]x[/link] "
    "\u202e\u05d0 \ud800 \ufffd\r\n\tend"
)


@pytest.mark.parametrize("system", ["truecolor", None])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_hostile_text_is_shown_and_not_obeyed(system: Any, encoding: str) -> None:
    record = factories.make_record(
        task=f"task {HOSTILE}",
        text=f"<s>{HOSTILE}",
        scores=None,
        flow=Flow(HOSTILE, HOSTILE, 0.5, 0.5),
        hypotheses=(Hypothesis((1,), HOSTILE, -0.1, 1.0, True),),
    )
    record = factories.edited(record, lambda r: r["metrics"].update({HOSTILE: HOSTILE}))
    record = factories.edited(record, lambda r: r.update(model=HOSTILE))
    record = factories.edited(record, lambda r: r["scores"].update({HOSTILE: r["scores"]["ot"]}))
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(
        file=file, width=110, force_terminal=system is not None, color_system=system, no_color=False
    )
    show_run(make_run(record), console, method=HOSTILE)
    file.flush()
    shown = SELECT_GRAPHICS.sub("", raw.getvalue().decode(encoding))
    assert all(character == "\n" or character.isprintable() for character in shown)
    # In the header, where no unit's mark comes between.
    assert "task \\x1b[31mred\\x1b[0m" in shown
    assert "[bold]loud[/bold]" in shown
    assert "31;" not in raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [20, 40, 250])
def test_any_width_will_do(width: int) -> None:
    lines = plain(factories.make_record(scores=SCORES), width=width).splitlines()
    assert max(map(len, lines)) <= width


def test_white_space_units_are_visible() -> None:
    record = factories.make_record(text="<s>a\n\n", scores={"ot": [0.1, 1.0]})
    assert "«a:1»«↵↵:9»" in plain(record)


def test_a_hundred_thousand_characters_are_shown() -> None:
    record = factories.make_record(text="<s>" + "incomprehensibilities " * 4_500 + "x" * 1_000)
    shown = "".join(SELECT_GRAPHICS.sub("", coloured(record)).split())
    assert shown.count("incomprehensibilities") >= 4_500
    assert "x" * 1_000 in shown


def three() -> tuple[dict[str, Any], ...]:
    """A right answer, and two wrong ones, the second of another text."""
    wrong = {"metrics": {"exact_match,none": 0.0}}
    other = factories.make_record(doc_id=2, text="<s>User: Are cats grey?\nAnswer:")
    return (
        factories.make_record(scores=SCORES),
        factories.edited(factories.make_record(doc_id=1), lambda record: record.update(wrong)),
        factories.edited(other, lambda record: record.update(wrong)),
    )


def shown_documents(**wanted: Any) -> list[str]:
    return re.findall(r"^films · doc (\d)", plain(*three(), chosen=Filter(**wanted)), flags=re.MULTILINE)


def test_samples_are_filtered_and_sorted() -> None:
    assert shown_documents(correct=True) == ["0"]
    assert shown_documents(correct=False) == ["1", "2"]
    assert shown_documents(search="CATS") == ["2"]
    assert shown_documents(segment="content") == ["0", "1", "2"]
    assert shown_documents(sort="score") == ["0", "1", "2"]
    with pytest.raises(ArtifactError, match="no units of segment 'shot_1'; there are 'content'"):
        shown_documents(segment="shot_1")
    with pytest.raises(ArtifactError, match="none of 3 samples"):
        shown_documents(search="dogs")


def test_closest_margins_come_first() -> None:
    margins = {0: -3.0, 1: None, 2: 0.5}
    records = [
        factories.edited(
            factories.make_record(doc_id=doc_id, choices=factories.CHOICES),
            lambda record, margin=margin: record["target"].update(margin=margin),
        )
        for doc_id, margin in margins.items()
    ]
    shown = plain(*records, chosen=Filter(sort="margin"), listed=True).splitlines()
    assert [line.split()[1] for line in shown[1:]] == ["2", "0", "1"]


def test_a_list_has_one_line_a_sample() -> None:
    head, *lines = plain(*three(), factories.make_skipped(doc_id=9), listed=True).splitlines()
    assert head.split() == ["task", "doc", "margin", "mostly", "top", "units"]
    assert lines[0].split()[:6] == ["films", "0", "right", "content", "not", "0.5,"]
    assert lines[-1].rstrip().endswith("skipped: the prompt is empty")
    assert len(lines) == 4


@pytest.mark.parametrize("width", [80, 120])
def test_a_long_name_of_a_task_leaves_its_line_alone(width: int) -> None:
    record = factories.make_record("a_task_with_a_rather_long_name", text="<s>" + "word and " * 30)
    lines = plain(record, record, listed=True, width=width).splitlines()
    assert len(lines) == 3
    assert "a_task_with_a_rather_long_name" in lines[1]
    assert any("a_task_with_a_rather_long_name" in line for line in plain(record, overview=True).splitlines())


def test_the_overview_counts_and_shares() -> None:
    shown = plain(*three(), factories.make_skipped(doc_id=9), overview=True, limit=1)
    first = next(line for line in shown.splitlines() if line.startswith("films"))
    assert first.split() == ["films", "3", "of", "4", "2", "of", "4", "1.2", "content", "100%"]
    assert "not shown: 3 more" in shown


def test_the_answer_is_told_token_by_token() -> None:
    shown = plain(answers.capital(), method="ot", width=140)
    assert "the model's answer, the scored part in «»\n" in shown
    assert "the second city of the country. ####« Lyon.»\n" in shown
    assert '" Lyon" hangs on "hash" 0.3, "word" 0.05, "France" 0.02\n' in shown
    assert '"." hangs on "France" 0.61, "rivers" 0.42, "two" 0.4\n' in shown
    assert "explained of the answer" not in shown
    # By a method without scores of single tokens, the answer alone.
    assert "hangs on" not in plain(answers.four_choices(), method="margin")


def test_scores_with_a_sign_say_what_they_speak_for() -> None:
    assert "N speaks for what the model said, -N against it" in plain(answers.capital(), method="signed_ot")
    told = SELECT_GRAPHICS.sub("", coloured(answers.four_choices(), method="signed_ot"))
    assert "above 0 speaks for the model's choice, below 0 against it" in " ".join(told.split())


def test_ties_pairs_and_quality_are_told() -> None:
    lines = plain(answers.capital(), method="ot", width=160).splitlines()
    assert [line.split()[:2] for line in lines if '"rivers" ' in line or '"two" ' in line][:2] == [
        ["2-3", '"rivers"'],
        ["2-3", '"two"'],
    ]
    pair = '"two" and "rivers" work only together: where one is absent, the other says little'
    assert f"{pair} (ot 0.14, between 0.08 and 0.2)" in lines
    assert any("16 sets of absent units" in line and "rank correlation 0.93" in line for line in lines)
    assert "Taking one unit away at a time would have missed units that stand in for each other." in lines


def test_a_long_answer_is_shown_around_its_explained_part() -> None:
    said = " step" * 900 + " 42"
    attribution = factories.make_attribution()
    steps = {"ot": [[0.1] for _ in attribution.units]}
    record = answers.record_of(answers.answered(attribution, said, (900,), steps), said=said)
    shown = plain(record)
    assert "« 42»" in shown
    assert shown.count("step") < 90


def test_a_window_that_was_not_found_says_why() -> None:
    record = factories.edited(answers.capital(), lambda found: found["answer"].update(reason="no filter"))
    assert "what was to be explained was not found, so the start is: no filter" in plain(record)


def test_what_comes_out_anew_is_told() -> None:
    attribution = factories.make_attribution()
    units = len(attribution.units)
    into = ("7", None, *("9",) * (units - 2))
    record = answers.record_of(replace(attribution, flips=Flips("9", into, 2 / units)), said="So 9")
    shown = plain(record)
    first, second = (f'"{unit.text.strip()}"' for unit in attribution.units[:2])
    assert f"another answer comes out for 2 of {units} ({2 / units:.0%})" in shown
    assert f'without {first}: "7", was "9"\n' in shown
    assert f'without {second}: nothing, was "9"\n' in shown
