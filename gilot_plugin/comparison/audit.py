"""What a fine-tune changed: two runs compared, with tests, against the noise of a repeated run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gilot_plugin.artifacts.chosen_by import answer_strategies, chosen_by_answer
from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.comparison.ablations import AblationShift, ablation_shifts
from gilot_plugin.comparison.changes import Change, measure_changes
from gilot_plugin.comparison.flips import Flips, count_flips
from gilot_plugin.comparison.measures import Measures, measure_pair
from gilot_plugin.comparison.pairs import Pair, Unpaired, common_method, pair_runs
from gilot_plugin.comparison.shifts import Shift, segment_shifts, word_shifts
from gilot_plugin.display import Displayed
from gilot_plugin.errors import ArtifactError

#: Settings that do not change what is measured.
_WITHOUT_EFFECT = frozenset(
    {
        *("ablate", "batch_size", "budget", "memory_budget", "num_threads", "output_path", "resume", "seed"),
        "select",
    }
)


@dataclass(frozen=True)
class Audit(Displayed):
    """A comparison of two runs.

    Attributes:
        base: Name of the base model, with a part of its run's folder where both names are the same.
        tuned: Name of the other model, likewise.
        method: Whose scores were compared.
        noise_runs: Number of repetitions of the base run.
        pairs: Documents that both runs explained.
        measures: For each pair, what changed.
        unpaired: Documents that were left out.
        segments: Shifts by task and segment.
        words: Shifts by word, over all tasks.
        changes: How far the attributions are apart.
        flips: Changed answers, by task.
        warnings: What a reader should know.
        ablations: What parts of the prompts do to the scores, where both runs were ablated; a family of tests
            of its own.
    """

    base: str
    tuned: str
    method: str
    noise_runs: int
    pairs: tuple[Pair, ...]
    measures: tuple[Measures, ...]
    unpaired: tuple[Unpaired, ...]
    segments: tuple[Shift, ...]
    words: tuple[Shift, ...]
    changes: tuple[Change, ...]
    flips: tuple[Flips, ...]
    warnings: tuple[str, ...]
    ablations: tuple[AblationShift, ...] = ()

    def __repr__(self) -> str:
        shifts = (*self.segments, *self.words)
        found = sum(shift.is_finding for shift in shifts)
        told = f"{len(self.pairs)} samples, {found} of {len(shifts)} shifts are findings"
        return f"Audit({self.tuned[:60]!r} against {self.base[:60]!r}, {self.method}: {told})"


def audit_runs(
    base: LoadedRun,
    tuned: LoadedRun,
    *,
    noise: Sequence[LoadedRun] = (),
    method: str | None = None,
    seed: int = 0,
) -> Audit:
    """Compare two runs of the same tasks.

    Args:
        base: Of the base model.
        tuned: Of its fine-tune, or of any other model.
        noise: Further runs of the base model: with another seed, another batch size, on another device. What
            they differ from ``base`` by is noise, and no shift of that size counts.
        method: Whose scores are compared; by default ``ot``, or the first that both have.
        seed: Of resampling.

    Raises:
        ArtifactError: The runs have no document in common, or not the method.
    """
    method = common_method(base, tuned, method)
    pairs, repeated, unpaired = pair_runs(base, tuned, method, noise)
    if not pairs:
        reasons = Counter(reason for _, _, reason in unpaired).most_common(3)
        told = "; ".join(f"{count} documents: {reason}" for reason, count in reasons)
        raise ArtifactError(
            f"{base.folder} and {tuned.folder} have no document in common: choose samples alike in both "
            f"runs, e.g. select.strategy=first or the same seed. {told}"
        )
    measures = tuple(measure_pair(pair, method) for pair in pairs)
    noise_measures = [tuple(measure_pair(pair, method) for pair in found) for found in repeated]
    base_name, tuned_name = _names(base, tuned)
    return Audit(
        base=base_name,
        tuned=tuned_name,
        method=method,
        noise_runs=len(noise),
        pairs=pairs,
        measures=measures,
        unpaired=unpaired,
        segments=segment_shifts(pairs, repeated, seed),
        words=word_shifts(pairs, repeated, seed),
        changes=measure_changes(measures, noise_measures, seed),
        flips=count_flips(base, tuned, pairs),
        warnings=tuple(_warnings(base, tuned, pairs, unpaired, noise)),
        ablations=ablation_shifts(base, tuned, seed),
    )


def _names(base: LoadedRun, tuned: LoadedRun) -> tuple[str, str]:
    """Names of the models; where an adapter leaves the name alike, with what tells the folders apart."""
    names = _model(base), _model(tuned)
    parts = zip(base.folder.parts, tuned.folder.parts, strict=False)
    apart = next(((one, other) for one, other in parts if one != other), None)
    if names[0] != names[1] or apart is None:
        return names
    return f"{names[0]} ({apart[0]})", f"{names[1]} ({apart[1]})"


def _model(run: LoadedRun) -> str:
    named = (run.manifest or {}).get("model", {}).get("name")
    return str(named) if named else ", ".join(dict.fromkeys(record.model for record in run.records))


def _warnings(
    base: LoadedRun,
    tuned: LoadedRun,
    pairs: Sequence[Pair],
    unpaired: Sequence[Unpaired],
    noise: Sequence[LoadedRun],
) -> Iterable[str]:
    if unpaired:
        reasons = Counter(reason for _, _, reason in unpaired).most_common(3)
        told = "; ".join(f"{count}: {reason}" for reason, count in reasons)
        yield f"{len(unpaired)} documents could not be paired ({told})"
    if not noise:
        yield (
            "no repetition of the base run was given (--noise), so the floor of the shifts is rounding "
            "alone, and how far apart the attributions are is not judged"
        )
    for name, value, other in _different_settings(base, tuned):
        yield f"the runs have different settings: {name} is {value} in the base run, {other} in the other"
    measured = {(_told_tokens(pair.base), _told_tokens(pair.tuned)) for pair in pairs}
    different = next((found for found in sorted(measured, key=str) if found[0] != found[1]), None)
    if different is not None:
        yield (
            f"the runs measured different quantities: distributions are {_outcomes(different[0])} in the "
            f"base run, {_outcomes(different[1])} in the other, so that kl, l2, js and tv cannot be "
            "compared, and ot within its bounds only"
        )
    strategies = {
        name for run in (base, tuned) for task in run.tasks for name in answer_strategies(run.manifest, task)
    }
    if strategies:
        chosen = chosen_by_answer(sorted(strategies))
        yield f"{chosen}, so the shifts hold for such samples, not for the tasks"
    refined = sum(
        bool(pair.base.coarse_units or pair.tuned.coarse_units) and pair.base.spans != pair.tuned.spans
        for pair in pairs
    )
    if refined:
        yield (
            f"units: auto cut {refined} prompts differently: they were compared on the smallest pieces that "
            "all runs measured"
        )
    if any(pair.coverage < 1 for pair in pairs):
        low = min(pair.coverage for pair in pairs)
        yield f"prompts differ between the runs: they were compared on at least {low:.0%} of their words"


def _told_tokens(record: Record) -> int | None:
    found: int | None = record.diagnostics.get("told_tokens")
    return found


def _outcomes(told_tokens: int | None) -> str:
    if told_tokens is None:
        return "over the whole vocabulary"
    return f"of the {told_tokens} likeliest tokens, with all others as one outcome,"


def _different_settings(base: LoadedRun, tuned: LoadedRun) -> Iterable[tuple[str, Any, Any]]:
    first, second = (_settings(run) for run in (base, tuned))
    for name in sorted({*first, *second} - _WITHOUT_EFFECT):
        if first.get(name) != second.get(name):
            yield name, first.get(name), second.get(name)


def _settings(run: LoadedRun) -> Mapping[str, Any]:
    """Settings of the run's tasks; those that differ between tasks as a list."""
    found: dict[str, list[Any]] = {}
    for config in (run.manifest or {}).get("configs", {}).values():
        for name, value in config.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
