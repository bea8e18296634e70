"""The built documentation: links hold, reference pages have what the code has, a screen reader gets along."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from gilot_plugin import GilotConfig, hookspecs
from gilot_plugin.cli import _parser
from tests.documentation.blocks import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("mkdocs") is None, reason="`make test-oldest` leaves the extra out"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "name", ["index.html", "reference/settings.html", "reference/python.html", "how-to/choose-samples.html"]
)
def test_pages_are_accessible(
    name: str, scheme: Any, site: Path, browser: Browser, accessibility_problems: Callable[[Page], list[str]]
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1200, "height": 800})
    page.goto((site / name).as_uri())
    try:
        assert accessibility_problems(page) == []
    finally:
        page.close()


def test_nothing_is_loaded_from_elsewhere(site: Path, browser: Browser) -> None:
    loaded: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: loaded.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.wait_for_load_state("networkidle")
    page.close()
    assert [url for url in loaded if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize(
    ("name", "headings"),
    [
        ("settings", lambda: set(GilotConfig.model_fields)),
        ("commands", lambda: {f"gilot-{name}" for name in _commands()}),
        (
            "hooks",
            lambda: {
                f"gilot_plugin.hookspecs.{name}" for name in vars(hookspecs) if name.startswith("gilot_")
            },
        ),
    ],
)
def test_the_reference_has_what_the_code_has(name: str, headings: Callable[[], set[str]], site: Path) -> None:
    text = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
    assert headings() <= set(re.findall(r'<h\d[^>]* id="([^"]+)"', text))


def _commands() -> set[str]:
    (choices,) = (action.choices for action in _parser()._actions if hasattr(action, "_name_parser_map"))
    return set(choices or ())


def test_a_note_on_what_is_not_there_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / ".ci" / "docs"))
    import messages  # type: ignore[import-not-found]

    with pytest.raises(KeyError, match="no message holds"):
        messages.error_messages({"the moon is out": "Wait."})
    assert "Add it." in messages.error_messages({"output_path is not set": "Add it."})
