"""Pages from disk in the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Opens a page; at the end nothing may have failed in it, and nothing but the file been loaded."""
    contexts: list[Any] = []
    errors: list[str] = []
    loaded: list[str] = []

    def open_it(html: str, link: str = "", *, scheme: Any = "light", width: int = 1300) -> Page:
        path = tmp_path / "page.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("dialog", lambda dialog: errors.append(dialog.message))
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(path.as_uri() + link)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert errors == []
    assert {url.partition("#")[0] for url in loaded} <= {(tmp_path / "page.html").as_uri()}
