"""Write a run into a folder in a format of another tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gilot_plugin.artifacts.loading import LoadedRun
from gilot_plugin.artifacts.names import file_part
from gilot_plugin.artifacts.typed import scored_methods
from gilot_plugin.errors import ArtifactError, ConfigError
from gilot_plugin.exports.card import dataset_card
from gilot_plugin.exports.inseq import to_inseq
from gilot_plugin.exports.tables import tables


def _flat(run: LoadedRun, folder: Path, suffix: str) -> Iterator[Path]:
    found = tables(run)
    files = {name: folder / f"{name}.{suffix}" for name in found}
    for name, table in found.items():
        if suffix == "parquet":
            table.to_parquet(files[name], index=False)
        else:
            table.to_csv(files[name], index=False)
        yield files[name]
    card = folder / "README.md"
    card.write_text(dataset_card(run, {name: path.name for name, path in files.items()}), encoding="utf-8")
    yield card


def _parquet(run: LoadedRun, folder: Path) -> Iterator[Path]:
    return _flat(run, folder, "parquet")


def _csv(run: LoadedRun, folder: Path) -> Iterator[Path]:
    return _flat(run, folder, "csv")


def _hf(run: LoadedRun, folder: Path) -> Iterator[Path]:
    import datasets

    for name, table in tables(run).items():
        datasets.Dataset.from_pandas(table, preserve_index=False).save_to_disk(folder / name)
        yield folder / name


def _inseq(run: LoadedRun, folder: Path) -> Iterator[Path]:
    for method in scored_methods(run.explained):
        path = folder / f"{file_part(method)}.json"
        try:
            converted = to_inseq(run.explained, method)
        except ImportError as error:
            raise ConfigError(
                f"inseq cannot be imported ({error}): pip install 'gilot-plugin[export]'"
            ) from error
        converted.save(path, overwrite=True)
        yield path


FORMATS: Mapping[str, Callable[[LoadedRun, Path], Iterator[Path]]] = {
    "parquet": _parquet,
    "csv": _csv,
    "inseq": _inseq,
    "hf": _hf,
}


def export_run(run: LoadedRun, form: str, folder: Path) -> tuple[Path, ...]:
    """Write a run.

    Args:
        run: What is written.
        form: A key of :data:`FORMATS`: ``parquet`` and ``csv``, flat tables and a card whose header the
            hub's viewer reads; ``hf``, the same tables for ``datasets.load_from_disk``; ``inseq``, a file a
            method for ``inseq.FeatureAttributionOutput.load``.
        folder: Where to write; made if it is not there.

    Returns:
        What was written.

    Raises:
        ArtifactError: The run has no explained sample, or the folder cannot be written.
        ConfigError: The format needs a package that is not installed.
    """
    if not run.explained:
        raise ArtifactError(f"{run.folder}: no sample of the run was explained; `gilot show` says why")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tuple(FORMATS[form](run, folder))
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be written: {error.strerror or error}") from error
