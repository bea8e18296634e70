"""What the section does not claim: how much was looked at, and how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gilot_plugin.artifacts.chosen_by import answer_strategies, chosen_by_answer
from gilot_plugin.artifacts.faithfulness import Faithfulness
from gilot_plugin.artifacts.loading import FIRST_POSITION_LEFT_OUT, LoadedRun
from gilot_plugin.artifacts.typed import Record, scored_methods
from gilot_plugin.reports.estimates import qualities_words

#: Parts of the answer by the setting ``explain``.
_PARTS = {
    "start": "the first {tokens} tokens of the model's answer",
    "scored": "the part of the model's answer that the metric saw",
    "end": "the last {tokens} tokens of the model's answer",
    "all": "the model's whole answer",
    "regex": "the part of the model's answer that a pattern finds",
}


def limits(run: LoadedRun, faithfulness: Faithfulness | None, method: str) -> Iterator[str]:
    """What a reader has to know before anything is concluded, a sentence each."""
    explained = run.explained
    yield f"{len(explained)} samples were explained; what holds for them need not hold for others."
    for task in run.tasks:
        if strategies := answer_strategies(run.manifest, task):
            yield f"{task}: {chosen_by_answer(strategies)}, so nothing here holds for the task as a whole."
    manifest = run.manifest or {}
    if manifest.get("status") != "complete":
        yield "The run did not finish: these are the samples that were explained before it ended."
    if quality := qualities_words(explained, method):
        yield quality
    absences = _settings(manifest, "absence")
    yield (
        f"A word is absent in one of several possible ways (here: {', '.join(absences) or 'not known'}). "
        "Prompts without it may be unlike any that the model has seen, and another way may rank otherwise."
    )
    if run.without_first_position:
        yield f"{len(run.without_first_position)} samples were {FIRST_POSITION_LEFT_OUT}."
    yield from dict.fromkeys(_horizons(explained, manifest.get("configs", {})))
    outside = _largest(explained, "outside_support")
    if outside is not None:
        yield f"At most {outside:.2g} of the probability of an outcome was outside the transport problem."
    gap = _largest(explained, "transport_gap")
    if gap is not None:
        yield f"Transport costs are certified to within {gap:.2g}."
    yield from _noise(explained)
    if any(record.scheme is None for record in explained):
        yield "Words are taken away one at a time: what only two of them do together is not seen."
    if faithfulness is None:
        yield "Whether the ranking is faithful to the model was not measured."


def limits_of_ablations() -> Iterator[str]:
    """The same of a run that was ablated and explains no sample."""
    yield "No sample was explained: which words of a prompt the answers hang on was not measured."
    yield "Prompts without a part may be unlike any that the model has seen."


def _noise(records: Sequence[Record]) -> Iterator[str]:
    """How many scores cannot be told from 0, where that was measured."""
    for method in scored_methods(records):
        measured = [record for record in records if record.floor_of(method) is not None]
        if measured:
            below = sum(len(record.below_floor(method)) for record in measured)
            scores = sum(len(record.scores[method]) for record in measured)
            floor = max(record.floor_of(method) or 0.0 for record in measured)
            yield (
                f"{below} of {scores} scores by {method} cannot be told from 0: in other batches, scores "
                f"move by up to {floor:.2g}."
            )


def _horizons(records: Iterable[Record], configs: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """How far ahead was looked where the model was free in what it says."""
    free = [record for record in records if record.target is not None and record.target.kind == "generation"]
    for config_hash in dict.fromkeys(record.config_hash for record in free):
        config = configs.get(config_hash, {})
        if not config.keys() >= {"hypotheses", "num_beams", "max_new_tokens"}:
            continue
        tokens = config["max_new_tokens"]
        if config["hypotheses"] == "response":
            for explain in dict.fromkeys(
                _explained_part(one) for one in free if one.config_hash == config_hash
            ):
                part = _PARTS[explain].format(tokens=tokens)
                rest = "" if explain == "all" else "; the rest of the answer is not explained"
                yield f"What decided {part} was measured{rest}."
        else:
            yield (
                f"Everything the model might say is approximated by {config['num_beams']} continuations of "
                f"up to {tokens} tokens."
            )


def _explained_part(record: Record) -> str:
    """A key of ``_PARTS``: where what was asked for was not found, the start was explained."""
    return "start" if record.answer is None or record.answer.reason else record.answer.explain


def _settings(manifest: Mapping[str, Any], name: str) -> list[str]:
    values = [config.get(name) for config in manifest.get("configs", {}).values()]
    return list(dict.fromkeys(str(value) for value in values if value is not None))


def _largest(records: Iterable[Record], name: str) -> float | None:
    return max((record.diagnostics[name] for record in records if name in record.diagnostics), default=None)
