"""Whatever a file holds, commands read it right or say what is wrong with it."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gilot_plugin import cli
from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.errors import GilotError
from gilot_plugin.reports.figures import run_figures
from tests.commands.damage import copied, damage, write_pair


def commands(run: Path, other: Path, out: Path) -> tuple[Callable[[], Any], ...]:
    """Everything that reads a run; the first two most often ended in a traceback."""

    def command(*arguments: str | Path) -> Callable[[], int]:
        return lambda: cli.main([str(argument) for argument in arguments])

    def load() -> None:
        loaded = load_run(run)
        assert loaded.evaluation is None or loaded.evaluation.tasks is not None
        _ = loaded.sample_of
        loaded.to_pandas()

    return (
        command("report", run, "--output_path", out / "report.html"),
        command("compare", other, run, "--output_path", out),
        command("compare", run, other, "--output_path", out),
        command("show", run, "--no_color"),
        command("show", run, "--no_color", "--list", "--sort", "margin"),
        command("card", run, "--model_card", out / "README.md"),
        command("validate", run),
        load,
        lambda: list(run_figures(load_run(run), limit=1)),
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def endings(
    pristine: Path, tmp_path: Path, seeds: Iterable[int], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Tracebacks, each with the damage that led to it."""
    # Drawing is matplotlib's; what is drawn is decided before.
    monkeypatch.setattr("gilot_plugin.reports.figures.save_figure", lambda *_, **__: None)
    found = []
    for seed in seeds:
        run = copied(pristine / "tuned", tmp_path / "damaged")
        told = damage(run, seed)
        chosen = commands(run, pristine / "base", tmp_path)
        weights = (3, 3, 1, 1, 1, 1, 1, 1, 1)
        for act in random.Random(seed).choices(chosen, weights, k=1):
            try:
                with quiet():
                    act()
            except GilotError:
                continue
            except Exception as error:
                found.append(f"{told}: {chosen.index(act)}: {error!r}")
    return found


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    write_pair(folder)
    return folder


def test_what_is_not_damaged_is_read(pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gilot_plugin.reports.figures.save_figure", lambda *_, **__: None)
    with quiet():
        ended = [act() for act in commands(pristine / "tuned", pristine / "base", tmp_path)]
    assert [code for code in ended if isinstance(code, int)] == [cli.DONE] * 7


@pytest.mark.parametrize(
    "count",
    [
        120,
        pytest.param(2_000, marks=pytest.mark.slow),
        pytest.param(10_000, marks=pytest.mark.fuzz),
    ],
)
def test_no_damage_ends_in_a_traceback(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    # The last one had a traceback once: a date in a manifest that no file's name can hold.
    assert endings(pristine, tmp_path, (*range(count), 4160), monkeypatch) == []
