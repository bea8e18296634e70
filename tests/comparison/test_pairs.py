from __future__ import annotations

import pytest

from gilot_plugin.artifacts.typed import Record
from gilot_plugin.comparison.pairs import common_method, pair_runs
from gilot_plugin.comparison.pieces import PairedPiece, common_pieces
from gilot_plugin.errors import ArtifactError
from tests.comparison.simulated import make_record, make_run

TEN = [0.1] * 10


def compared(base: Record, tuned: Record) -> tuple[tuple[PairedPiece, ...], float]:
    found = common_pieces([base, tuned], "ot")
    return found.paired(1), found.coverage


def test_documents_are_paired_by_their_hash() -> None:
    base = make_run([make_record(TEN, doc=doc) for doc in (0, 1)])
    tuned = make_run([make_record(TEN, doc=7, doc_hash="d1"), make_record(TEN, doc=3, doc_hash="d0")])
    pairs, _, unpaired = pair_runs(base, tuned, "ot")
    assert [(pair.base.doc_id, pair.tuned.doc_id) for pair in pairs] == [(0, 3), (1, 7)]
    assert unpaired == ()


def test_documents_of_other_tasks_are_others() -> None:
    pairs, _, unpaired = pair_runs(
        make_run([make_record(TEN)]), make_run([make_record(TEN, task="books")]), "ot"
    )
    assert pairs == ()
    assert [(task, reason) for task, _, reason in unpaired] == [
        ("films", "not in the other run"),
        ("books", "not in the base run"),
    ]


def test_copies_of_a_document_are_paired_in_order() -> None:
    copies = [make_record(TEN, doc=doc, doc_hash="same") for doc in (0, 1, 2)]
    pairs, _, unpaired = pair_runs(make_run(copies), make_run(copies[:2]), "ot")
    assert [(pair.base.doc_id, pair.tuned.doc_id) for pair in pairs] == [(0, 0), (1, 1)]
    assert [found.doc_id for found in unpaired] == [2]


def test_what_cannot_be_paired_says_why() -> None:
    base = make_run([make_record(TEN, doc=doc) for doc in range(3)])
    tuned = make_run(
        [
            make_record(TEN, doc=0, status="failed"),
            make_record({"kl": TEN}, doc=1),
            make_record([1.0], doc=2, words=[("Unlike", "question")]),
        ]
    )
    pairs, _, unpaired = pair_runs(base, tuned, "ot")
    assert pairs == ()
    assert [found.reason for found in unpaired] == [
        "failed in the other run: out of memory",
        "no scores by method 'ot' in the other run",
        "the prompts have only 0% of their words in common",
    ]


def test_units_that_are_alike_are_compared_one_by_one() -> None:
    base, tuned = make_record(range(10)), make_record(range(10, 20))
    pieces, coverage = compared(base, tuned)
    assert coverage == 1
    assert [(piece.base, piece.tuned) for piece in pieces] == [(n, n + 10) for n in range(10)]
    assert pieces[8].text == " Tuesday"
    assert pieces[8].segment == "question"
    # "Answer briefly. Was the film good on Tuesday?": characters 36 to 44 of 45
    assert pieces[8].position == pytest.approx(40 / 45)


def test_other_tokens_are_compared_on_the_words_they_make_up() -> None:
    words = make_record([4.0, 6.0], words=[("un", "q"), ("happy men", "q")])
    tokens = make_record([1.0, 2.0, 3.0], words=[("unhap", "q"), ("py", "q"), (" men", "q")])
    pieces, coverage = compared(words, tokens)
    assert coverage == 1
    assert [piece.text for piece in pieces] == ["unhappy", "men"]
    # Of "happy men", eight characters are no white space: five of them are in the first word.
    assert [piece.base for piece in pieces] == pytest.approx([4 + 6 * 5 / 8, 6 * 3 / 8])
    assert [piece.tuned for piece in pieces] == pytest.approx([3.0, 3.0])


def test_another_template_leaves_the_common_words() -> None:
    plain = make_record([1.0, 2.0], words=[("good", "question"), (" film", "question")])
    chat = make_record(
        [9.0, 3.0, 4.0, 8.0],
        words=[("user\n", "t"), ("good", "question"), (" film", "question"), ("\nassistant", "t")],
    )
    pieces, coverage = compared(plain, chat)
    assert [(piece.text, piece.base, piece.tuned) for piece in pieces] == [
        ("good", 1.0, 3.0),
        ("film", 2.0, 4.0),
    ]
    assert coverage == 0.5


def test_the_transport_distance_is_compared_unless_another_is_asked_for() -> None:
    both = make_run([make_record({"kl": TEN, "ot": TEN})])
    only_kl = make_run([make_record({"kl": TEN})])
    assert common_method(both, both, None) == "ot"
    assert common_method(both, only_kl, None) == "kl"
    assert common_method(both, both, "kl") == "kl"
    with pytest.raises(ArtifactError, match=r"no scores by method 'ot'.* the other 'kl'"):
        common_method(both, only_kl, "ot")
    with pytest.raises(ArtifactError, match="no method in both runs"):
        common_method(only_kl, make_run([make_record({"l2": TEN})]), None)
