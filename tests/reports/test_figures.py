from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from gilot_plugin.analysis.segments import summarize_tasks
from gilot_plugin.artifacts.loading import LoadedRun, load_run
from gilot_plugin.artifacts.typed import Record
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.figures import (
    MAX_LINES,
    faithfulness_figure,
    heat_map_figure,
    run_figures,
    save_figure,
    segments_figure,
)
from gilot_plugin.reports.palette import LIGHT
from tests.artifacts import factories

#: Of the factories' text: Is the film not good ?
SCORES = {"ot": [0.0, 0.01, 0.05, 0.5, -0.25, 0.0]}
SVG = "{http://www.w3.org/2000/svg}"


def record(**changes: Any) -> Record:
    return Record.from_json(factories.make_record(**{"scores": SCORES} | changes))


def texts(figure: Figure, folder: Path) -> list[str]:
    """What the SVG of a figure says, piece by piece."""
    path = folder / "figure.svg"
    save_figure(figure, path)
    return [element.text or "" for element in ET.parse(path).iter(f"{SVG}text")]


def colours(figure: Figure, folder: Path) -> set[tuple[int, ...]]:
    path = folder / "figure.png"
    save_figure(figure, path)
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(map(int, colour)) for colour, count in zip(found, counts, strict=True) if count > 100}


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[index : index + 2], 16) for index in (1, 3, 5))


def test_a_heat_map_says_the_prompt(tmp_path: Path) -> None:
    said = texts(heat_map_figure(record()), tmp_path)
    assert "".join(said[:-1]) == factories.TEXT.replace("\n", "")
    assert said[-1] == "ot: darkest is 0.5; grey: not a unit"


def test_a_heat_map_shows_the_levels_of_the_palette(tmp_path: Path) -> None:
    found = colours(heat_map_figure(record()), tmp_path)
    # 0.5 is the largest, -0.25 is half of it the other way, 0.05 a tenth of it.
    assert {rgb(LIGHT.ground(level)) for level in (9, -5, 1)} <= found
    assert rgb(LIGHT.ground(5)) not in found


def test_white_space_around_words_has_no_ground() -> None:
    drawn = heat_map_figure(record()).axes[0]
    widths = [artist.get_width() for artist in drawn.get_children() if isinstance(artist, Rectangle)]
    film, negation, good, _whole_figure = widths
    assert film == pytest.approx(good)
    assert film / negation == pytest.approx(len("film") / len("not"))


def test_text_stays_text(tmp_path: Path) -> None:
    hostile = "Is $x^2$ <script>alert(1)</script> & \x1b[31m 東京 \u202eabc?"
    said = "".join(texts(heat_map_figure(record(text=hostile, scores=None)), tmp_path))
    assert "$x^2$ <script>alert(1)</script> & \\x1b[31m 東京 \\u202eabc?" in said
    heat_map_figure(record(text=hostile, scores=None))


def test_long_lines_are_broken_and_long_prompts_cut(tmp_path: Path) -> None:
    figure = heat_map_figure(record(text="incomprehensibilities " * 1000, scores=None))
    said = texts(figure, tmp_path)
    assert said[-1].endswith(f"{-(-22_000 // 84) - MAX_LINES} more lines")
    assert figure.get_figheight() < 15


def test_wide_characters_take_two_columns(tmp_path: Path) -> None:
    said = texts(heat_map_figure(record(text="東" * 50, scores=None)), tmp_path)
    assert [len(line) for line in said[:-1]] == [42, 8]


def test_a_method_that_is_not_there_is_refused() -> None:
    with pytest.raises(ArtifactError, match="films, document 0: no scores by method 'kl'"):
        heat_map_figure(record(), "kl")


def test_segments_show_share_interval_and_length(tmp_path: Path) -> None:
    records = [record(scores={"ot": [0.1, 0.2, 0.3, 0.1 * n, 0.1, 0.0]}) for n in range(6)]
    summaries = {**summarize_tasks(records, "ot"), "empty": ()}
    figure = segments_figure(summaries, "ot")
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["films", "empty"]
    (bar,) = figure.axes[0].patches
    assert bar.get_width() == 1
    said = texts(figure, tmp_path)
    assert "content" in said
    assert any("mean share of ot" in text for text in said)


def test_faithfulness_shows_both_curves_of_each_method(tmp_path: Path) -> None:
    figure = faithfulness_figure(factories.FAITHFULNESS)
    drawn = [(line.get_linestyle(), list(map(float, line.get_ydata()))) for line in figure.axes[0].lines]
    assert drawn == [("-", [1, 0.3, 0.1]), ("--", [1, 0.8, 0.1])] * 2
    assert {"ot (area 0.250)", "kl (area 0.250)"} <= set(texts(figure, tmp_path))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    contents = []
    for number in range(2):
        path = tmp_path / f"{number}{suffix}"
        save_figure(heat_map_figure(record()), path, "A prompt")
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    assert b"A prompt" in contents[0]


@pytest.mark.parametrize(
    ("name", "message"), [("a.pdf", "written as .png or .svg"), ("file/a.png", "cannot be written")]
)
def test_a_figure_that_cannot_be_written_says_why(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=message):
        save_figure(heat_map_figure(record()), tmp_path / name)


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    factories.write_run(
        tmp_path,
        [
            *(factories.make_record(doc_id=doc) for doc in range(3)),
            factories.make_skipped(doc_id=3),
            factories.make_record("pairs/1", 7),
        ],
    )
    return load_run(tmp_path)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["heat_films_0_p0", "heat_films_1_p1", "heat_films_2_p2", "heat_pairs_1-cf8f5fad_7_p7"]),
        ({"limit": 1}, ["heat_films_0_p0"]),
        ({"limit": 3}, ["heat_films_0_p0", "heat_films_1_p1", "heat_pairs_1-cf8f5fad_7_p7"]),
        ({"task": "films", "doc": 2}, ["heat_films_2_p2"]),
    ],
)
def test_figures_of_a_run(run: LoadedRun, options: dict[str, Any], names: list[str]) -> None:
    assert [found.name for found in run_figures(run, **options)] == ["segments", *names]


def test_faithfulness_is_drawn_where_it_was_computed(run: LoadedRun) -> None:
    (run.folder / f"faithfulness_{run.date}.json").write_text(factories.FAITHFULNESS.model_dump_json())
    assert [found.name for found in run_figures(run, limit=0)] == ["segments", "faithfulness"]


def test_a_hash_that_is_none_leads_nowhere(tmp_path: Path) -> None:
    record = factories.edited(factories.make_record(), lambda record: record.update(prompt_hash="../../x"))
    factories.write_run(tmp_path, [record])
    *_, found = run_figures(load_run(tmp_path))
    assert Path(found.name).name == found.name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "books"}, "no task 'books'; there are 'films', 'pairs/1'"),
        ({"doc": 3}, "no such sample was explained"),
        ({"method": "l2"}, "no scores by method 'l2'; there are 'ot', 'kl'"),
    ],
)
def test_figures_that_cannot_be_are_refused(run: LoadedRun, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        list(run_figures(run, **options))
