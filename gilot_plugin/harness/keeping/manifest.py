"""The manifest of a run: what was chosen, with which settings, by which versions."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Literal

from gilot_plugin.artifacts.models import SCHEMA_VERSION
from gilot_plugin.artifacts.names import attributions_name
from gilot_plugin.harness.state.model_arguments import arguments_of_model
from gilot_plugin.harness.state.run import EvaluationRun, ModelDescription
from gilot_plugin.plugins.manager import third_party_plugins

_PACKAGES = {
    "gilot_plugin": "gilot-plugin",
    "lm_eval": "lm_eval",
    "torch": "torch",
    "transformers": "transformers",
    "POT": "POT",
}


def manifest_of(run: EvaluationRun, status: Literal["complete", "interrupted"]) -> dict[str, Any]:
    """Describe the run as it stands."""
    used = describe_cache_use(run)
    return {
        "schema_version": SCHEMA_VERSION,
        "date": run.files.date,
        "status": status,
        "versions": {
            **{name: version(package) for name, package in _PACKAGES.items()},
            "python": platform.python_version(),
        },
        "model": describe_model(run),
        **({} if used is None else {"cache_use": used}),
        "configs": {info.config.hash: info.config.model_dump(mode="json") for info in run.tasks.values()},
        "plugins": [{"name": name, "version": found} for name, found in third_party_plugins()],
        "tasks": {name: _describe_task(run, name) for name in run.tasks},
    }


def describe_model(run: EvaluationRun) -> dict[str, Any]:
    """What the manifest says of the model."""
    if run.described is not None:
        return dict(run.described.model)
    described: dict[str, Any] = {"name": run.model_name, "lm_class": type(run.lm).__name__}
    loaded_as = run.loaded_as or arguments_of_model(run.lm)
    if loaded_as is not None:
        described |= {"lm_eval_model": loaded_as.model, "model_args": dict(loaded_as.arguments)}
    model = getattr(run.lm, "model", None)
    if run.backend is not None:
        described |= {
            "class": type(model).__name__,
            "device": str(run.backend.embeddings.device),
            "dtype": str(getattr(model, "dtype", None)),
            "vocab_size": run.backend.limits.vocab_size,
            "max_positions": run.backend.limits.max_positions,
        }
    return described


def describe_cache_use(run: EvaluationRun) -> dict[str, Any] | None:
    """How the model was read in this process; None where it has not read anything yet.

    A run that was resumed and had nothing left to read says what the earlier one did.
    """
    if run.described is not None:
        return None if run.described.cache_use is None else dict(run.described.cache_use)
    # To ask for it before would try the model out.
    if run.backend is not None and run.backend.model_tokens > 0:
        used = run.backend.cache_use
        return None if used is None else asdict(used)
    return run.resumed.manifest.get("cache_use") if run.resumed is not None else None


def let_model_go(run: EvaluationRun) -> None:
    """Hold the model no longer: what is to be said of it is written down, and nothing is asked of it."""
    if run.described is None:
        run.described = ModelDescription(describe_model(run), describe_cache_use(run))
    run.lm = run.backend = None


def _describe_task(run: EvaluationRun, name: str) -> dict[str, Any]:
    info, chosen = run.tasks[name], run.chosen.get(name)
    records = run.records_of(name)
    counts = Counter(record["status"] for record in records)
    return {
        "file": attributions_name(name, run.files.date) if run.files.folder is not None and records else None,
        "output_type": info.output_type,
        "task_version": info.version,
        "config_hash": info.config.hash,
        "selection": {
            "strategy": info.config.select.strategy,
            "over": info.config.select.over,
            "options": info.config.select.options.model_dump(),
            "candidates": chosen.candidates if chosen else 0,
            "chosen": [
                {"doc_id": one.sample.identity.doc_id, "reason": one.reason}
                for one in (chosen.samples if chosen else ())
            ],
            "left_out": list(chosen.left_out) if chosen else [],
            "error": chosen.error if chosen else None,
        },
        "records": {status: counts[status] for status in ("ok", "skipped", "failed")},
    }
