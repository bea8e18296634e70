"""The notebook among the examples shows what it says, and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from gilot_plugin.reports.html.notebook import LIMIT

EXAMPLES = Path(__file__).parents[1] / "examples"


def shown(notebook: Any) -> list[str]:
    """The HTML of its outputs that come from this package, in order."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    found = [output.get("data", {}).get("text/html", "") for output in outputs]
    return [html for html in found if 'class="gilot"' in html]


def check(notebook: Any) -> None:
    """A prompt, a run, a sample and a comparison, each with its heat map."""
    fragments = shown(notebook)
    assert len(fragments) == 4
    for fragment in fragments:
        assert 'class="heat"' in fragment
        assert len(fragment.encode()) <= LIMIT
    assert ">hot</span>" in fragments[0]
    bars = [output for cell in notebook.cells for output in cell.get("outputs", []) if "4/4" in str(output)]
    assert any("GiLOT: samples explained" in str(bar) for bar in bars)


def test_its_outputs_are_kept() -> None:
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    check(notebook)


@pytest.mark.slow
def test_it_runs() -> None:
    notebook = nbformat.read(EXAMPLES / "notebook.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.pop("outputs", None) if cell.cell_type == "markdown" else cell.update(outputs=[])
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    check(notebook)
