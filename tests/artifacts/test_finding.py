"""Which of the runs in a folder is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gilot_plugin.artifacts import names
from gilot_plugin.artifacts.finding import choose_run, locate_run
from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.errors import ArtifactError
from tests.artifacts import factories
from tests.artifacts.factories import DATE, LATER


def write_model(folder: Path, model: str, date: str = DATE) -> Path:
    """A run of a model, in the folder that lm-eval would give it; its manifest."""
    record = factories.edited(factories.make_record(), lambda record: record.update(model=model))
    manifest: dict[str, Any] = factories.make_manifest([record], date=date)
    manifest["model"]["name"] = model
    return factories.write_run(folder / model.replace("/", "__"), [record], date=date, manifest=manifest)


def test_one_model_is_no_choice(tmp_path: Path) -> None:
    write_model(tmp_path, "org/base")
    write_model(tmp_path, "org/base", LATER)
    found = choose_run(tmp_path)
    assert (found.run.date, found.run.model, found.other_models) == (LATER, "org/base", ())


def test_the_newest_run_is_taken_and_the_other_models_are_known(tmp_path: Path) -> None:
    for model, date in (("org/base", LATER), ("org/tuned", DATE), ("small", DATE)):
        write_model(tmp_path, model, date)
    found = choose_run(tmp_path)
    assert found.run.folder == tmp_path / "org__base"
    assert found.other_models == ("org/tuned", "small")


@pytest.mark.parametrize("name", ["org/tuned", "org__tuned"])
def test_a_model_is_chosen_by_its_name_or_its_folder(name: str, tmp_path: Path) -> None:
    write_model(tmp_path, "org/base", LATER)
    write_model(tmp_path, "org/tuned")
    assert locate_run(tmp_path, model=name) == (tmp_path / "org__tuned", DATE)
    assert [record.model for record in load_run(tmp_path, model=name).records] == ["org/tuned"]


def test_a_model_without_a_manifest_is_known_by_its_records_else_by_its_folder(tmp_path: Path) -> None:
    write_model(tmp_path, "org/base").unlink()
    assert choose_run(tmp_path, model="org/base").run.files[0].suffix == ".jsonl"
    for damage in (b"", b"[1]", b"{", b'{"model": []}', b'{"model": {"name": 5}}', b"\xff", b"[" * 100_000):
        (tmp_path / "org__base" / names.attributions_name("films", DATE)).write_bytes(damage)
        assert choose_run(tmp_path).run.model == "org__base"


def test_runs_of_the_same_time_are_told_apart_by_the_model(tmp_path: Path) -> None:
    write_model(tmp_path, "a")
    write_model(tmp_path, "b")
    with pytest.raises(ArtifactError, match="more than one folder"):
        choose_run(tmp_path)
    assert locate_run(tmp_path, model="b", date=DATE) == (tmp_path / "b", DATE)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ({"model": "org/other"}, "no run of model 'org/other'; there are 'org/base', 'org/tuned'"),
        ({"model": "org/base", "date": DATE}, f"no run of '{DATE}'; there are {LATER}"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(choice: dict[str, str], reason: str, tmp_path: Path) -> None:
    write_model(tmp_path, "org/base", LATER)
    write_model(tmp_path, "org/tuned")
    with pytest.raises(ArtifactError) as error:
        choose_run(tmp_path, **choice)
    assert reason in str(error.value)
