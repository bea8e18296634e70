"""Find the runs in a folder, and choose one of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from gilot_plugin.artifacts.file_checks import parse_line
from gilot_plugin.artifacts.names import ABLATIONS_PATTERN, ARTIFACT_PATTERN, ablations_date, parse_name
from gilot_plugin.errors import ArtifactError, one_of


class FoundRun(NamedTuple):
    """A run, as far as the names of its files tell.

    Attributes:
        folder: With its files.
        date: As they spell it.
        files: Manifest first, if there is one; those of ablations where nothing was explained.
        described: Whether a manifest, or the plan of an ablation, says what the run was.
    """

    folder: Path
    date: str
    files: tuple[Path, ...]
    described: bool

    @property
    def model(self) -> str:
        """Name of the model: that of the manifest or a record, else that of the folder."""
        for path in self.files:
            if name := _model_in(path):
                return name
        return self.folder.name

    def is_of(self, model: str) -> bool:
        """Whether this is the model's name, or the one that lm-eval gave to its folder."""
        return model in (self.model, self.folder.name)


class ChosenRun(NamedTuple):
    """A chosen run.

    Attributes:
        run: The chosen one.
        other_models: What the other runs in the folder are of, if that is something else.
    """

    run: FoundRun
    other_models: tuple[str, ...]


def locate_run(
    folder: Path, *, date: str | None = None, model: str | None = None, ablated: bool = False
) -> tuple[Path, str]:
    """Folder and date of the run that :func:`choose_run` chooses.

    Raises:
        ArtifactError: See there.
    """
    found = choose_run(folder, date=date, model=model, ablated=ablated).run
    return found.folder, found.date


def choose_run(
    folder: Path, *, date: str | None = None, model: str | None = None, ablated: bool = False
) -> ChosenRun:
    """Find the newest run in a folder.

    Args:
        folder: The run's folder or one above it, such as the ``output_path`` of the evaluation; or one of its
            artifacts.
        date: Which run, as its file names spell it; by default the newest one, finished or not.
        model: Of which model, by its name or that of its folder; by default of any.
        ablated: Whether runs count of which nothing was explained, but that were ablated.

    Raises:
        ArtifactError: There is no such run, or more than one folder has it; the message says what to do.
    """
    folder = Path(folder)
    if not folder.exists():
        raise ArtifactError(f"{folder}: there is no such folder: give the output_path of an attributed run")
    if folder.is_file():
        name = parse_name(folder.name)
        date = name.date if name is not None else ablations_date(folder.name) if ablated else None
        if date is None:
            raise ArtifactError(f"{folder} is not an artifact: give the folder of an attributed run")
        folder = folder.parent
        runs = _runs((path for path in folder.iterdir() if path.is_file()), ablated=ablated)
    else:
        patterns = (ARTIFACT_PATTERN, ABLATIONS_PATTERN) if ablated else (ARTIFACT_PATTERN,)
        paths = chain.from_iterable(map(folder.rglob, patterns))
        runs = _runs((path for path in paths if path.is_file()), ablated=ablated)
    if not runs:
        nor = " and no ablations (ablations_*.jsonl)" if ablated else ""
        raise ArtifactError(
            f"{folder} holds no attributions (attributions_*.jsonl, attributions_manifest_*.json){nor}: "
            "give the output_path of a run that had gilot attached and an output_path set"
        )
    wanted = runs if model is None else [run for run in runs if run.is_of(model)]
    if not wanted:
        raise ArtifactError(f"{folder} has no run of model {model!r}; there are {one_of(_models(runs))}")
    dates = sorted({run.date for run in wanted})
    if date is not None and date not in dates:
        raise ArtifactError(f"{folder} has no run of {date!r}; there are {', '.join(dates)}")
    if date is None:
        # Records without a manifest are what is left of a run whose manifest got lost.
        date = max([run.date for run in wanted if run.described] or dates)
    chosen = [run for run in wanted if run.date == date]
    if len(chosen) > 1:
        places = ", ".join(str(run.folder) for run in chosen)
        raise ArtifactError(f"the run of {date} lies in more than one folder: give one of {places}")
    others = [run for run in runs if run.folder != chosen[0].folder]
    known = chosen[0].model if others else ""
    return ChosenRun(chosen[0], tuple(name for name in _models(others) if name != known))


def _runs(paths: Iterable[Path], *, ablated: bool) -> list[FoundRun]:
    """Runs by folder and date."""
    records: dict[tuple[Path, str], list[Path]] = {}
    manifests: dict[tuple[Path, str], Path] = {}
    ablations: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(paths):
        if name := parse_name(path.name):
            files = records.setdefault((path.parent, name.date), [])
            if name.kind == "manifest":
                manifests[path.parent, name.date] = path
            else:
                files.append(path)
        elif ablated and (date := ablations_date(path.name)):
            ablations.setdefault((path.parent, date), []).append(path)
    found = [
        FoundRun(*run, (*([manifests[run]] if run in manifests else []), *files), run in manifests)
        for run, files in records.items()
    ]
    found += [FoundRun(*run, tuple(files), True) for run, files in ablations.items() if run not in records]
    return sorted(found)


def _models(runs: Sequence[FoundRun]) -> list[str]:
    return sorted({run.model for run in runs})


def _model_in(path: Path) -> str | None:
    """The model that a manifest, or the first record of a file, names; None where it cannot be read."""
    name = parse_name(path.name)
    try:
        with path.open("rb") as lines:
            content = lines.read() if name is not None and name.kind == "manifest" else lines.readline()
    except OSError:
        return None
    value, _ = parse_line(content)
    model = value.get("model") if isinstance(value, Mapping) else None
    found = model.get("name") if isinstance(model, Mapping) else model
    return found if isinstance(found, str) and found else None
