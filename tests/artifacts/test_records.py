from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gilot_plugin.artifacts import jsontext, records
from gilot_plugin.artifacts.record_checks import record_problems
from gilot_plugin.attribution.types import Choice
from gilot_plugin.errors import ArtifactError
from tests.artifacts import factories

HOSTILE = "\x1b[31mred\x9b0m [bold]loud[/bold] \u202eאבג\u2028 \ufffd \x00 \ud83d\ude00"


def test_records_are_valid() -> None:
    assert list(record_problems(factories.make_record())) == []
    assert list(record_problems(factories.make_record(choices=factories.CHOICES))) == []
    assert list(record_problems(factories.make_skipped())) == []


def test_the_checksum_survives_the_disk_and_finds_edits() -> None:
    record = factories.make_record(text=f"<s>{HOSTILE}\ud800 end")
    read = json.loads(jsontext.dumps(record).encode())
    assert read == record
    assert records.checksum(read) == read["record_sha256"]
    assert records.checksum(read | {"doc_id": 9}) != read["record_sha256"]


def test_the_checksum_does_not_depend_on_the_order_of_fields() -> None:
    record = factories.make_record()
    assert records.checksum(dict(reversed(record.items()))) == record["record_sha256"]


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float64("nan"), np.array([math.nan])])
def test_metrics_that_are_not_finite_stand_as_text(value: object) -> None:
    identity = factories.make_identity(metrics={"perplexity,none": value})
    record = records.attributed_record(
        identity, factories.make_attribution(), target={}, config_hash=factories.CONFIG_HASH, model="m"
    )
    assert record["metrics"]["perplexity,none"] in ("NaN", "Infinity", ["NaN"])
    assert list(record_problems(record)) == []
    jsontext.dumps(record)


def test_scores_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(ArtifactError, match=r"scores\.ot\[2\] is nan"):
        factories.make_record(scores={"ot": [0.1, 0.2, math.nan, 0, 0, 0]})


def test_a_choice_that_the_model_cannot_give_has_no_log_likelihood() -> None:
    choices = (Choice(" no", (5,), -0.1, -0.05, 1.0), Choice(" yes", (6,), -math.inf, -math.inf, 0.0))
    record = factories.make_record(choices=choices)
    assert [choice["logprob"] for choice in record["target"]["choices"]] == [-0.1, None]
    assert list(record_problems(record)) == []


def test_a_log_likelihood_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"choices\[0\]\.logprob is nan"):
        factories.make_record(choices=(Choice(" no", (5,), math.nan, -0.1, 1.0),))


def test_the_prompt_is_put_together_from_its_tokens() -> None:
    assert records.prompt_text(factories.make_record()) == factories.TEXT
    whole, pieces = {"id": 1, "text": "a", "start": 0, "end": 1}, {"id": 2, "text": "é", "start": 1, "end": 2}
    empty = {"id": 3, "text": "", "start": 2, "end": 2}
    assert records.prompt_text({"prompt_tokens": [whole, pieces, pieces, pieces, empty, empty]}) == "aé"
