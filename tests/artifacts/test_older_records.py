"""Records of version 1.0, whose scores leave the first token of the answer out: read, and said so."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gilot_plugin.artifacts.loading import LoadedRun, load_run
from gilot_plugin.artifacts.reader import read_run
from gilot_plugin.artifacts.validation import validate_path
from gilot_plugin.comparison.pairs import pair_runs
from gilot_plugin.errors import ConfigError
from gilot_plugin.harness.keeping.resumption import refuse_other_settings
from gilot_plugin.reports.card.section import card_section
from gilot_plugin.reports.html.report import report_page
from gilot_plugin.reports.terminal import show_run
from gilot_plugin.settings.config import GilotConfig
from tests.artifacts import factories

SAID = "leave out the first token of the answer"


def older(record: dict[str, Any]) -> None:
    record["schema_version"] = "1.0"


def write(folder: Path, version: str, steps: str = "mean") -> LoadedRun:
    """A generation and a choice."""
    folder.mkdir()
    records = [factories.make_record(), factories.make_record("pairs", 0, choices=factories.CHOICES)]
    if version == "1.0":
        records = [factories.edited(record, older) for record in records]
    manifest = factories.make_manifest(records)
    manifest["schema_version"] = version
    manifest["configs"][factories.CONFIG_HASH]["steps"] = steps
    factories.write_run(folder, records, manifest=manifest)
    return load_run(folder)


@pytest.fixture
def run(tmp_path: Path) -> LoadedRun:
    return write(tmp_path / "older", "1.0")


def test_they_are_valid_and_read(run: LoadedRun) -> None:
    assert not validate_path(run.folder).problems
    assert [record.schema_version for record in run.records] == ["1.0", "1.0"]


def test_only_averages_over_positions_of_a_generation_mean_something_else(
    run: LoadedRun, tmp_path: Path
) -> None:
    assert [record.task for record in run.without_first_position] == ["films"]
    assert write(tmp_path / "paper", "1.0", steps="last").without_first_position == ()
    assert write(tmp_path / "new", "1.1").without_first_position == ()


def test_report_card_and_terminal_say_so(run: LoadedRun, tmp_path: Path) -> None:
    def shown(found: LoadedRun) -> tuple[str, str, str]:
        console = Console(file=io.StringIO(), width=300)
        show_run(read_run(found.folder), console, overview=True)
        return report_page(found), card_section(found).text, console.file.getvalue()

    assert all(SAID in text for text in shown(run))
    assert not any(SAID in text for text in shown(write(tmp_path / "new", "1.1")))


def test_they_are_compared_with_their_own_kind_only(run: LoadedRun, tmp_path: Path) -> None:
    new = write(tmp_path / "new", "1.1")
    found = pair_runs(run, new, "ot")
    assert [pair.base.task for pair in found.pairs] == ["pairs"]
    assert [SAID in one.reason for one in found.unpaired] == [True]
    mixed = pair_runs(new, new, "ot", noise=[run])
    assert [pair.base.task for pair in mixed.pairs] == ["pairs"]
    for same in (run, new):
        assert len(pair_runs(same, same, "ot", noise=[same]).pairs) == 2


def test_their_run_is_not_resumed(run: LoadedRun) -> None:
    assert run.manifest is not None
    with pytest.raises(ConfigError, match=r"records of version 1\.0.*leave resume out"):
        refuse_other_settings(json.loads(json.dumps(run.manifest)), {"films": GilotConfig()})
