"""One word for one thing, as ``docs/words.md`` has them, wherever the product speaks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

_PAGE = ROOT / "docs" / "words.md"

#: Packages whose texts users see: reports, commands and their help, messages, settings, fields of records.
_SPEAKING = (
    *("reports", "commands", "comparison", "analysis", "faithfulness", "exports", "harness", "settings"),
    *("artifacts", "strategies", "cli.py", "api.py", "resolve.py"),
)

_WORDLESS = {
    ".md": r"```.*?```|`[^`\n]*`|<!--.*?-->",
    ".html": r"<(script|style)\b.*?</\1>|\{[%{#].*?[%}#]\}|<[^>]*>",
}


def word_list() -> dict[str, tuple[str, ...]]:
    """For each word of the page, what is said nowhere in its place."""
    rows = re.findall(r"^\| (.+?) \| .+ \| (.*) \|$", _PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {word: tuple(re.findall(r"(?<!\*)\*([^*]+)\*", avoided)) for word, avoided in rows[2:]}


WORDS = word_list()


def _pattern(phrase: str) -> re.Pattern[str]:
    words = r"\s+".join(map(re.escape, phrase.split()))
    return re.compile(rf"\b{words}(s|es)?\b", flags=re.IGNORECASE)


def avoided_in(text: str) -> Iterator[str]:
    """What a text says that the page does not allow."""
    for word, phrases in WORDS.items():
        for phrase in phrases:
            for match in _pattern(phrase).finditer(text):
                yield f"{match[0]!r}; rather: {word}"


def _said_in_python(path: Path) -> str:
    """The texts of a module without what it says to its readers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            del node.body[0]
    said = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return "\n".join(text for text in said if isinstance(text, str))


def _said_in_script(text: str) -> str:
    return "\n".join("".join(found) for found in re.findall(r'"([^"\n]*)"|`([^`]*)`', text))


def texts() -> Iterator[tuple[str, str]]:
    """Texts that users read, with their places."""
    package = ROOT / "gilot_plugin"
    pages = [page for page in (ROOT / "docs").rglob("*.md") if page != _PAGE]
    for path in (ROOT / "README.md", *pages, *(package / "reports").rglob("assets/*")):
        text, place = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if path.suffix == ".js":
            yield place, _said_in_script(text)
        elif path.suffix in _WORDLESS:
            yield place, re.sub(_WORDLESS[path.suffix], " ", text, flags=re.DOTALL)
    for name in _SPEAKING:
        for path in [package / name] if name.endswith(".py") else sorted((package / name).rglob("*.py")):
            yield str(path.relative_to(ROOT)), _said_in_python(path)


def test_the_word_list_is_kept() -> None:
    assert not [f"{place}: {found}" for place, text in texts() for found in avoided_in(text)]


def test_the_page_is_read() -> None:
    assert len(WORDS) >= 24
    assert all(WORDS.values()), "what is not said in place of a word stands in italics"
    assert "percentage of attention" in WORDS["share"]


@pytest.mark.parametrize("phrase", [phrase for phrases in WORDS.values() for phrase in phrases])
def test_what_the_page_avoids_is_found(phrase: str) -> None:
    first, *others = phrase.split()
    assert list(avoided_in(f"Here, the {first.capitalize()}\n{' '.join(others)}."))


def test_the_texts_are_found() -> None:
    found = dict(texts())
    assert {"README.md", "docs/families.md", "gilot_plugin/reports/card/assets/card.md"} <= set(found)
    assert "at most so many samples" in found["gilot_plugin/commands/shared.py"]
    assert len(found) > 150
