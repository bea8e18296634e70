"""Progress bars: in a notebook one output that is drawn anew, and stays."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

CELL = """
import time
from gilot_plugin.harness.state.progress import RunProgress

progress = RunProgress(hidden={hidden})
with progress.shown(2):
    for number in range(2):
        progress.sample_started("films", number, 3)
        for _ in range(3):
            progress.units_done(1)
            time.sleep(0.1)
        progress.sample_finished()
"""


def outputs(code: str) -> list[Any]:
    """What a cell leaves in a notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    NotebookClient(notebook, timeout=120).execute()
    found: list[Any] = notebook.cells[0].outputs
    return found


def test_a_notebook_keeps_the_last_state_of_the_bars_and_nothing_else() -> None:
    (output,) = outputs(CELL.format(hidden=False))
    assert output.output_type == "display_data"
    assert "GiLOT: samples explained" in output.data["text/html"]
    assert "2/2" in output.data["text/html"]
    assert "2/2" in output.data["text/plain"]


def test_hidden_bars_leave_nothing() -> None:
    assert outputs(CELL.format(hidden=True)) == []


def test_a_terminal_shows_them_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    exec(CELL.format(hidden=False), {})
    shown = capsys.readouterr()
    assert "2/2" in shown.err
    assert shown.out == ""
