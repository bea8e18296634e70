"""Go on with a run that was killed or interrupted: the setting ``resume``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gilot_plugin.artifacts.continuing import take_up
from gilot_plugin.artifacts.finding import locate_run
from gilot_plugin.artifacts.manifest_checks import check_manifest
from gilot_plugin.artifacts.models import SCHEMA_VERSION
from gilot_plugin.artifacts.names import manifest_name
from gilot_plugin.errors import ArtifactError, ConfigError
from gilot_plugin.extension.samples import ChosenSample, Sample
from gilot_plugin.harness.state.run import ChosenOfTask, EvaluationRun
from gilot_plugin.settings.config import GilotConfig

_LOGGER = logging.getLogger(__name__)

#: What the numbers depend on, of what the manifest says of the model. The device may be another one.
_OF_THE_MODEL = ("name", "lm_class", "class", "dtype", "vocab_size")


def find_resumed(resume: Path, output: Path | None) -> dict[str, Any] | None:
    """The manifest of the run that is to be resumed.

    Args:
        resume: Folder of the run, or one above it.
        output: Folder of the present run's artifacts, or one above it.

    Returns:
        The manifest of the newest run; None, with a warning, if a process was killed there before it had
        begun to write.

    Raises:
        ConfigError: There is no such folder, the run cannot be read, or it lies elsewhere than the present
            run's artifacts.
    """
    if output is None:
        raise ConfigError(f"resume={str(resume)!r}: give its folder as output_path, too")
    if not resume.exists():
        raise ConfigError(f"resume={str(resume)!r}: there is no such folder; leave resume out to start anew")
    try:
        folder, date = locate_run(resume)
    except ArtifactError as error:
        if resume.is_dir():
            _LOGGER.warning("resume=%s: nothing was written there yet, so all is computed", resume)
            return None
        raise ConfigError(f"resume={str(resume)!r}: {error}") from None
    here, there = output.resolve(), folder.resolve()
    if here != there and here != there.parent:
        raise ConfigError(
            f"resume={str(resume)!r}: the run lies in {folder}, this one would write into {output}: resume "
            "it with the output_path that it had"
        )
    path = folder / manifest_name(date)
    manifest, problems = check_manifest(path)
    if manifest is None:
        raise ConfigError(f"resume={str(resume)!r}: {'; '.join(map(str, problems))}")
    return manifest


def refuse_other_settings(manifest: Mapping[str, Any], configs: Mapping[str, GilotConfig]) -> None:
    """Refuse to go on with a run under other settings, or of a release whose scores mean something else.

    Args:
        manifest: Of the run that is resumed.
        configs: The present settings of tasks; of others nothing is known yet.

    Raises:
        ConfigError: Settings differ; the message says which, and both values. Or its records are of another
            version.
    """
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise ConfigError(
            f"the run that is resumed has records of version {manifest['schema_version']}, this release "
            f"writes version {SCHEMA_VERSION}, whose scores mean something else: leave resume out to start "
            "anew"
        )
    found = []
    for task, config in configs.items():
        entry = manifest["tasks"].get(task)
        if entry is not None and entry["config_hash"] != config.hash:
            found.append(f"task {task}: {'; '.join(_differences(manifest, entry, config))}")
    if found:
        raise ConfigError(
            "the run that is resumed had other settings: repeat it with the same ones, or leave resume out\n"
            + "\n".join(found)
        )


def _differences(manifest: Mapping[str, Any], entry: Mapping[str, Any], config: GilotConfig) -> Iterator[str]:
    before, now = manifest["configs"].get(entry["config_hash"], {}), config.model_dump(mode="json")
    decisive = config.decisive_settings
    names = [name for name in {**before, **decisive} if name in decisive or name not in now]
    for name in names:
        if before.get(name) != now.get(name):
            yield f"{name} was {before.get(name)!r} and is {now.get(name)!r}"


def refuse_another_run(manifest: Mapping[str, Any], run: EvaluationRun, model: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of another model or of other tasks.

    Args:
        manifest: Of the run that is resumed.
        run: The present run.
        model: What its manifest will say of its model.

    Raises:
        ConfigError: Model or tasks differ.
    """
    refuse_other_settings(manifest, {name: info.config for name, info in run.tasks.items()})
    for name in _OF_THE_MODEL:
        before = manifest["model"].get(name)
        if before != model.get(name):
            now = model.get(name)
            raise ConfigError(
                f"the run that is resumed had another model: its {name} was {before!r} and is {now!r}"
            )
    if set(manifest["tasks"]) != set(run.tasks):
        raise ConfigError(
            f"the run that is resumed had other tasks: {', '.join(sorted(manifest['tasks']))} and not "
            f"{', '.join(sorted(run.tasks))}"
        )


def resume_run(run: EvaluationRun) -> None:
    """Keep what the resumed run finished, and choose what it chose.

    Raises:
        ArtifactError: Its files cannot be read or put in order.
    """
    if run.resumed is None or run.files.folder is None:
        return
    run.resumed.records = take_up(run.files.folder, run.resumed.manifest)
    _LOGGER.info("resumed: %d records are there already", len(run.resumed.records))


def chosen_before(run: EvaluationRun, task: str, samples: Sequence[Sample]) -> ChosenOfTask | None:
    """The resumed run's own choice among a task's samples; None if it had not chosen yet.

    Raises:
        ConfigError: A chosen document is not among the samples.
    """
    entry = run.resumed.manifest["tasks"].get(task) if run.resumed is not None else None
    if entry is None or not entry["selection"]["chosen"]:
        return None
    known = {sample.identity.doc_id: sample for sample in samples}
    chosen = entry["selection"]["chosen"]
    if missing := [choice["doc_id"] for choice in chosen if choice["doc_id"] not in known]:
        raise ConfigError(
            f"the run that is resumed explained documents that this one does not evaluate ({missing}): "
            "repeat it with the same --limit and --samples"
        )
    choices = tuple(ChosenSample(known[choice["doc_id"]], choice["reason"]) for choice in chosen)
    return ChosenOfTask(len(samples), choices)


def kept_record(run: EvaluationRun, sample: Sample) -> Mapping[str, Any] | None:
    """The sample's record in the resumed run; None if there is none, or if the scores are others now."""
    record = run.resumed.records.get(sample.identity.key) if run.resumed is not None else None
    if record is None or record["metrics"] != sample.identity.plain_metrics:
        return None
    return record
