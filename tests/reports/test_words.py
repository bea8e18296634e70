"""One word for one thing, as ``docs/words.md`` has them, wherever the product speaks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: What is said in no text of the product, and what is said instead.
_AVOIDED = {
    r"attend(s|ed|ing)? to": "what an answer hangs on: attention is not what is measured",
    r"(looks|focus(es)?) (at|on) (the|this|these|a) (word|unit|part)": "what an answer hangs on",
    r"salien(t|cy)": "attribution, score",
    r"importan(t|ce) (word|unit|token)s?": "units that matter",
    r"influen(ce|tial)": "matters",
    r"(word|unit|token)s? weights?": "score, share",
    r"statistically significant": "finding, more than chance",
}


def texts() -> Iterator[tuple[str, str]]:
    """Texts that users read, with their places."""
    package = ROOT / "gilot_plugin"
    for path in (ROOT / "README.md", *(package / "reports").rglob("assets/*")):
        if path.suffix in (".md", ".html", ".js"):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for folder in ("reports", "commands", "comparison", "harness/entry"):
        for path in (package / folder).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            said = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
            yield str(path.relative_to(ROOT)), "\n".join(text for text in said if isinstance(text, str))


def test_the_word_list_is_kept() -> None:
    found = [
        f"{place}: {match[0]!r}; rather {instead}"
        for place, text in texts()
        for pattern, instead in _AVOIDED.items()
        for match in re.finditer(pattern, text, flags=re.IGNORECASE)
    ]
    assert not found


def test_the_texts_are_found() -> None:
    places = {place for place, _ in texts()}
    assert {"README.md", "gilot_plugin/reports/card/assets/card.md"} <= places
    assert len(places) > 40
