"""Code blocks of Markdown files, and how those in bash are run without a process for each command."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    )
)

_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->", flags=re.DOTALL)
_HEADER = re.compile(r"\A---\n.*?\n---\n", flags=re.DOTALL)


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: As the fence says.
        text: What is in it.
        line: Where it begins.
        reason: Why it is not run; None where nothing says that it is not.
    """

    language: str
    text: str
    line: int
    reason: str | None


def blocks_of(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, those in lists included; a reason stands right before its block."""
    text = (ROOT / page).read_text(encoding="utf-8")
    header = _HEADER.match(text)
    offset = header[0].count("\n") if header else 0
    reason = None
    for token in MarkdownIt("commonmark").parse(text[header.end() :] if header else text):
        if token.type == "fence":
            assert token.map is not None
            yield Block(token.info.strip(), token.content, token.map[0] + offset + 1, reason)
        if token.type != "html_block":
            reason = None
        elif found := _NOT_RUN.fullmatch(token.content.strip()):
            reason = found[1]


#: Takes the place of commands: writes their arguments down. Others end the script.
_RECORDING = """
set -euo pipefail
record() { printf '%s\\0' "$@" >&3; printf '\\n\\0' >&3; }
for name in gilot lm_eval; do eval "$name() { record $name \\"\\$@\\"; }"; done
command_not_found_handle() { echo "not a command that is run here: $*" >&2; exit 127; }
PATH=
"""


def commands_in(script: str, folder: Path) -> list[list[str]]:
    """The commands of a bash script with their arguments, as bash reads them.

    Raises:
        subprocess.CalledProcessError: It calls something else, or is no script.
    """
    recorded = folder / "recorded"
    subprocess.run(
        ["/bin/bash", "-c", f"exec 3>recorded\n{_RECORDING}{script}"], cwd=folder, check=True, timeout=60
    )
    commands: list[list[str]] = [[]]
    for part in recorded.read_text(encoding="utf-8").split("\0")[:-1]:
        if part == "\n":
            commands.append([])
        else:
            commands[-1].append(part)
    return commands[:-1]
