"""What mkdocs calls: measurements become pages, and markers in reference pages are filled."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from artifacts import artifact_fields
from commands import command_options, exit_codes
from messages import error_messages
from mkdocs.structure.files import File
from python import hooks, python_interface
from settings import offered_names, settings_fields

ROOT = Path(__file__).parents[2]

#: ``<!-- generated: NAME -->``; what a page's header has under ``notes`` is handed to it.
_MARKER = re.compile(r"^<!-- generated: ([\w-]+) -->$", flags=re.MULTILINE)

_GENERATED = {
    "settings": settings_fields,
    "names": offered_names,
    "commands": command_options,
    "exit-codes": exit_codes,
    "artifacts": artifact_fields,
    "messages": error_messages,
    "python": python_interface,
    "hooks": hooks,
}

_MEASUREMENTS = "benchmarks"
_UP = re.compile(rf"\]\((?:\.\./)+(?={_MEASUREMENTS}/)")


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages of measurements, which lie beside what measures."""
    for path in sorted((ROOT / _MEASUREMENTS).glob("*.md")):
        name = f"{_MEASUREMENTS}/{path.name.replace('README', 'index')}"
        files.append(File.generated(config, name, content=path.read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill a page's markers (an unknown name stops the build); lead links to measurements to their pages."""
    depth = page.file.src_uri.count("/")
    if page.file.src_uri.startswith(_MEASUREMENTS):
        return markdown.replace("](README.md", "](index.md")
    notes = page.meta.get("notes", {})
    filled = _MARKER.sub(lambda found: _GENERATED[found[1]](notes), markdown)
    return _UP.sub(f"]({'../' * depth}", filled)
