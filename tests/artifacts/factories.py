"""Hand-made attributions, records, manifests and run folders."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts import names, records
from gilot_plugin.artifacts.faithfulness import Faithfulness
from gilot_plugin.artifacts.records import (
    SCHEMA_VERSION,
    SampleIdentity,
    attributed_record,
    unattributed_record,
)
from gilot_plugin.artifacts.writer import RecordWriter, write_manifest
from gilot_plugin.attribution.types import (
    Attribution,
    Choice,
    Diagnostics,
    ExplainedAnswer,
    Flow,
    Hypothesis,
    Interaction,
    Prompt,
    SchemeUse,
    Token,
    Unit,
)

DATE = "2026-05-17T09-30-00.123456"
LATER = "2026-05-18T09-30-00.123456"
CONFIG_HASH = "c" * 64
MODEL = "tiny-model"
TEXT = "<s>User: Is the film not good?\nAnswer:"

HYPOTHESES = (
    Hypothesis((5, 2), " no", -0.3, 0.75, True),
    Hypothesis((6, 7), " yes, it", -1.4, 0.25, False),
)
CHOICES = (Choice(" no", (5,), -0.5, -0.25, 0.6), Choice(" yes", (6,), -0.9, -0.3, 0.4))


#: A results file of lm-eval.
RESULTS = {
    "results": {
        "films": {
            "alias": "films",
            "exact_match,none": 0.5,
            "exact_match_stderr,none": 0.1,
            "exact_match,strict": 0.25,
            "exact_match_stderr,strict": "N/A",
        }
    },
    "versions": {"films": 2.0},
    "n-shot": {"films": 3},
    "n-samples": {"films": {"original": 100, "effective": 10}},
    "higher_is_better": {"films": {"exact_match": True}},
    "config": {"model": "hf"},
}

#: Of one method that beats its control and one that does not.
_AREA = {"mean": 0.25, "low": 0.2, "high": 0.3}
FAITHFULNESS = Faithfulness.model_validate(
    {
        "schema_version": "1.0",
        "settings": {
            "model": MODEL,
            "model_args": "pretrained=tiny",
            "embedder": "tiny-embedder",
            "max_answer_tokens": 8,
            "random_rankings": 5,
            "seed": 0,
            "absence": ["delete"],
            "configs": {CONFIG_HASH: {"num_beams": 4}},
            "versions": {"torch": "2"},
        },
        "samples": 20,
        "left_out": {},
        "fractions": [0, 0.5, 1],
        "measures": [
            {
                "quantity": "similarity",
                "summary": "similarity of the answers",
                "absence": "delete",
                "samples": 20,
                "methods": [
                    {
                        "method": method,
                        "samples": 20,
                        "morf": [1, 0.3, 0.1],
                        "lerf": [1, 0.8, 0.1],
                        "area": _AREA,
                        "comprehensiveness": _AREA,
                        "sufficiency": _AREA,
                        "controls": [
                            {
                                "control": "random",
                                "difference": {"mean": 0.2, "low": 0.1, "high": 0.3},
                                "p_value": 0.001 if beaten else 0.4,
                                "beaten": beaten,
                            }
                        ],
                    }
                    for method, beaten in (("ot", True), ("kl", False))
                ],
                "controls": [
                    {"control": "random", "morf": [1, 0.5, 0.1], "lerf": [1, 0.5, 0.1], "area": _AREA}
                ],
                "differences": [
                    {
                        "method": "ot",
                        "other": "kl",
                        "samples": 20,
                        "difference": {"mean": 0.0, "low": -0.1, "high": 0.1},
                        "p_value": 0.9,
                        "better": None,
                    }
                ],
            }
        ],
        "seconds": {"ot": 1.5, "kl": 1.5},
    }
)


def make_prompt(text: str = TEXT) -> Prompt:
    """One token a word, a leading ``<s>`` special and ``User:``/``Answer:`` template, the rest content."""
    found = [match.span() for match in re.finditer(r"<s>|\s*\w+|\s*[^\w\s]|\s+$", text)]
    tokens = tuple(Token(10 + index, text[a:b], a, b) for index, (a, b) in enumerate(found))
    labels = {"<s>": "special", "User": "template", "Answer": "template", ":": "template"}
    return Prompt(text, tokens, tuple(labels.get(token.text.strip(), "content") for token in tokens))


def make_attribution(
    text: str = TEXT,
    *,
    scores: Mapping[str, Sequence[float]] | None = None,
    flow: Flow | None = None,
    hypotheses: tuple[Hypothesis, ...] = HYPOTHESES,
    choices: tuple[Choice, ...] = (),
) -> Attribution:
    """Units are the content tokens; scores, if not given, grow with the length of the unit."""
    prompt = make_prompt(text)
    units = tuple(
        Unit(index, index + 1, token.text, segment)
        for index, (token, segment) in enumerate(zip(prompt.tokens, prompt.segments, strict=True))
        if segment == "content"
    )
    grown = tuple(len(unit.text) / 20 for unit in units)
    return Attribution(
        prompt,
        units,
        {name: tuple(values) for name, values in (scores or {"ot": grown, "kl": grown[::-1]}).items()},
        tuple((flow or Flow(" no", " yes", 0.31, 0.6),) for _ in units),
        Diagnostics(
            1e-4,
            2e-9,
            ((0.0, 2.0),) * len(units),
            (12,) * len(units),
            1234,
            4,
            {"model": 1.0, "measure": 0.2, "total": 1.25},
        ),
        () if choices else hypotheses,
        choices,
    )


def make_identity(task: str = "films", doc_id: int = 0, **changes: Any) -> SampleIdentity:
    """A sample whose hashes follow from its number."""
    fields: dict[str, Any] = {
        "doc_hash": f"d{doc_id}",
        "prompt_hash": f"p{doc_id}",
        "target_hash": f"t{doc_id}",
        "request_type": "generate_until",
        "metrics": {"exact_match,none": 1.0},
    }
    return SampleIdentity(task, doc_id, **fields | changes)


def make_record(task: str = "films", doc_id: int = 0, **changes: Any) -> dict[str, Any]:
    """An ok record; ``changes`` go to :func:`make_attribution`."""
    return attributed_record(
        make_identity(task, doc_id),
        make_attribution(**changes),
        target={"response": " no"},
        config_hash=CONFIG_HASH,
        model=MODEL,
    )


def estimated(attribution: Attribution) -> Attribution:
    """The same as if it were of single positions and of coalitions, about the answer " no, it is"."""
    said = (" no", ",", " it", " is")
    ends = list(accumulate(map(len, said)))
    tokens = tuple(
        Token(5 + n, text, end - len(text), end) for n, (text, end) in enumerate(zip(said, ends, strict=True))
    )
    scores = attribution.scores
    return replace(
        attribution,
        answer=ExplainedAnswer(tokens, (0, 2), "scored", " no it"),
        step_scores={name: tuple((2 * score, 0.0) for score in values) for name, values in scores.items()},
        intervals={
            name: tuple((score - 0.01, score + 0.01) for score in values) for name, values in scores.items()
        },
        scheme=SchemeUse("auto", 32, tied=((1, 2),)),
        interactions=(Interaction((2, 4), "ot", -0.2, (-0.25, -0.1)),),
        diagnostics=replace(attribution.diagnostics, lds={"ot": 0.93}, held_out=16),
    )


def make_estimated(task: str = "films", doc_id: int = 0) -> dict[str, Any]:
    """An ok record of single positions and of coalitions."""
    return attributed_record(
        make_identity(task, doc_id),
        estimated(make_attribution()),
        target={"response": " no, it is"},
        config_hash=CONFIG_HASH,
        model=MODEL,
    )


def make_skipped(task: str = "films", doc_id: int = 0, reason: str = "the prompt is empty") -> dict[str, Any]:
    """A record without an attribution."""
    return unattributed_record(
        make_identity(task, doc_id), "skipped", reason, config_hash=CONFIG_HASH, model=MODEL
    )


def edited(record: Mapping[str, Any], change: Any, *, resigned: bool = True) -> dict[str, Any]:
    """A copy of a record after ``change(copy)``, with a checksum that matches again if ``resigned``."""
    changed = copy.deepcopy(dict(record))
    change(changed)
    if resigned:
        changed[records.CHECKSUM_FIELD] = records.checksum(changed)
    return changed


def make_manifest(found: Sequence[Mapping[str, Any]], *, date: str = DATE, **changes: Any) -> dict[str, Any]:
    """The manifest that fits the records."""
    tasks: dict[str, Any] = {}
    for task in dict.fromkeys(record["task"] for record in found):
        own = [record for record in found if record["task"] == task]
        tasks[task] = {
            "file": names.attributions_name(task, date),
            "output_type": "generate_until",
            "task_version": 1.0,
            "config_hash": CONFIG_HASH,
            "selection": {
                "strategy": "first",
                "options": {"n": len(own)},
                "candidates": 10,
                "chosen": [{"doc_id": record["doc_id"], "reason": "among the first"} for record in own],
                "error": None,
            },
            "records": {
                status: sum(record["status"] == status for record in own)
                for status in ("ok", "skipped", "failed")
            },
        }
    software = ("gilot_plugin", "lm_eval", "torch", "transformers", "POT", "python")
    return {
        "schema_version": SCHEMA_VERSION,
        "date": date,
        "status": "complete",
        "versions": dict.fromkeys(software, "1.2.3"),
        "model": {"name": MODEL},
        "configs": {CONFIG_HASH: {"num_beams": 4}},
        "plugins": [{"name": "gilot", "version": "0.1.0"}],
        "tasks": tasks,
    } | changes


def write_run(
    folder: Path,
    found: Sequence[Mapping[str, Any]],
    *,
    date: str = DATE,
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Write records and, unless another is given, the manifest that fits; the path of the manifest."""
    for task in dict.fromkeys(record["task"] for record in found):
        with RecordWriter(folder / names.attributions_name(task, date)) as writer:
            for record in found:
                if record["task"] == task:
                    writer.write(record)
    path = folder / names.manifest_name(date)
    write_manifest(path, make_manifest(found, date=date) if manifest is None else manifest)
    return path


def write_lines(path: Path, found: Sequence[Mapping[str, Any]]) -> Path:
    """Write values as JSON lines without any of the writer's checks."""
    path.write_text("".join(json.dumps(value) + "\n" for value in found), encoding="utf-8")
    return path
