"""A run that was ablated and never explained, wherever a run is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gilot_plugin import cli
from tests.analysis.ablations import make_ablation, write_ablation
from tests.artifacts import factories

_ABLATED = {"full": [1.0] * 20, "without question": [1.0] * 4 + [0.0] * 16}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What lm-eval and `gilot ablate` leave."""
    place = tmp_path / "out" / factories.MODEL
    place.mkdir(parents=True)
    (place / f"results_{factories.DATE}.json").write_text(json.dumps(factories.RESULTS))
    write_ablation(place, make_ablation(_ABLATED, date=factories.DATE))
    return tmp_path / "out"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert cli.main([str(argument) for argument in arguments]) == cli.DONE
    return capsys.readouterr().out


def test_the_report_tells_of_the_ablations_and_of_no_attributions(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = Path(shown(capsys, "report", folder).strip()).read_text()
    assert "What the score hangs on" in page
    assert "films: acc falls from 1 to 0.2 without the question" in page
    assert "No sample of this run was explained" in page
    for of_attributions in (
        "What the answers hang on</h2>",
        "Wrong answers against right ones",
        "explained: right",
        "Do the scores rank the words rightly?",
    ):
        assert of_attributions not in page
    assert "0.5" in page  # the score as lm-eval gave it


def test_the_card_tells_of_them_too(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    shown(capsys, "card", folder, "--model_card", card)
    text = card.read_text()
    assert "### What the score hangs on" in text
    assert "| films | acc | without question | 20 | 1.000 | 0.200 |" in text
    assert (tmp_path / "gilot" / "ablations.png").is_file()
    for of_attributions in (
        "Words of the prompt were taken away",
        "### Attribution by part",
        "### Faithfulness",
    ):
        assert of_attributions not in text
    assert "0 samples were explained" not in text


def test_so_do_the_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (name,) = shown(capsys, "figures", folder, "--format", "png").split()
    assert Path(name).name == "ablations.png"


@pytest.mark.parametrize("command", ["show", "contrast"])
def test_what_shows_attributions_says_that_there_are_none(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert cli.main([command, str(folder)]) == cli.FAILED
    assert "holds no attributions" in capsys.readouterr().err


def test_the_newest_of_both_kinds_is_told_of(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place,) = folder.iterdir()
    factories.write_run(place, [factories.make_record()], date=factories.LATER)
    assert factories.LATER in shown(capsys, "report", folder)
    write_ablation(place, make_ablation(_ABLATED, date="2027-01-01T00-00-00.0"))
    assert "2027-01-01" in shown(capsys, "report", folder)
    assert "2027" not in shown(capsys, "show", folder)
