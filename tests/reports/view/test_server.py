"""The page of a run on a server for this machine alone."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from gilot_plugin.artifacts.loading import load_run
from gilot_plugin.artifacts.names import attributions_name
from gilot_plugin.artifacts.writer import write_manifest
from gilot_plugin.reports.html.report import report_page
from gilot_plugin.reports.view.following import Following
from gilot_plugin.reports.view.server import HOST, ViewServer
from tests.artifacts import factories
from tests.reports.html.pages import HOSTILE, SCORES
from tests.reports.view.test_following import append

Serve = Callable[[Path], ViewServer]
Look = Callable[..., Page]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves a folder until the test ends."""
    running: list[tuple[ViewServer, Thread]] = []

    def start(folder: Path) -> ViewServer:
        server = ViewServer(Following(folder))
        thread = Thread(target=server.serve)
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.close()
        thread.join()


@pytest.fixture
def look(browser: Browser) -> Iterator[Look]:
    """Opens an address; at the end nothing may have failed in the page, nor come from elsewhere."""
    errors: list[str] = []
    loaded: list[str] = []
    contexts = []

    def open_it(address: str, link: str = "", *, scheme: Any = "light") -> Page:
        context = browser.new_context(viewport={"width": 1300, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(address + link)
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert errors == []
    assert {urlsplit(url).hostname for url in loaded} <= {HOST}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    records = [factories.make_record(scores=SCORES), factories.make_record(doc_id=2)]
    factories.write_run(tmp_path, records, manifest=factories.make_manifest(records, status="interrupted"))
    return tmp_path


def documents(page: Page) -> Any:
    return page.locator("#rows a")


def test_the_page_is_that_of_the_report(folder: Path, serve: Serve, look: Look, tmp_path: Path) -> None:
    page = look(serve(folder).address)
    expect(documents(page)).to_have_text(["document\xa00", "document\xa02"])
    expect(page.locator("#live")).to_have_text("What is explained from now on appears here.")
    report = tmp_path / "report.html"
    report.write_text(report_page(load_run(folder)), encoding="utf-8")
    other = page.context.new_page()
    other.goto(report.as_uri())
    other.wait_for_selector("html[data-ready]")
    for part in ("#list", "header", "#about table"):
        assert page.locator(part).first.inner_text() == other.locator(part).first.inner_text()
    documents(page).first.click()
    documents(other).first.click()
    expect(page.locator("#sample .asked .heat")).to_be_visible()
    expect(other.locator("#sample .asked .heat")).to_be_visible()
    assert page.locator("#sample").inner_text() == other.locator("#sample").inner_text()


def test_what_is_explained_meanwhile_appears(folder: Path, serve: Serve, look: Look) -> None:
    page = look(serve(folder).address)
    page.select_option("#task", "films")
    page.select_option("#sort", "largest")
    expect(documents(page)).to_have_text(["document\xa00", "document\xa02"])
    append(folder, factories.make_record(doc_id=1, text="<s>User: Are cats very grey?\nAnswer:"))
    expect(page.locator("#count")).to_have_text("3 of 3 samples", timeout=15_000)
    expect(page.locator("#about")).to_contain_text("3 of 3 chosen samples were explained.")
    assert page.input_value("#task") == "films"
    assert page.input_value("#sort") == "largest"
    page.click("text=document\xa01")
    expect(page.locator("#sample .asked .heat")).to_contain_text("cats")
    records = [factories.make_record(doc_id=number) for number in range(3)]
    (manifest,) = folder.glob("attributions_manifest_*")
    write_manifest(manifest, factories.make_manifest(records))
    page.click("text=All samples")
    expect(page.locator("#live")).to_contain_text("The run is complete", timeout=15_000)


def test_a_page_that_was_opened_before_the_first_sample(tmp_path: Path, serve: Serve, look: Look) -> None:
    manifest = factories.make_manifest([], status="interrupted")
    factories.write_run(tmp_path, [], manifest=manifest)
    page = look(serve(tmp_path).address)
    expect(page.locator("#count")).to_have_text("0 of 0 samples")
    assert "tiny-model" in page.inner_text("h1")
    append(tmp_path, factories.make_record(scores=SCORES))
    expect(documents(page)).to_have_text(["document\xa00"], timeout=15_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(
    folder: Path,
    serve: Serve,
    look: Look,
    accessibility_problems: Callable[[Page], list[str]],
    scheme: str,
) -> None:
    page = look(serve(folder).address, scheme=scheme)
    assert accessibility_problems(page) == []
    documents(page).first.click()
    page.locator("#sample .asked .heat").focus()
    assert accessibility_problems(page) == []


def test_a_broken_record_says_so_in_its_place(folder: Path, serve: Serve, browser: Browser) -> None:
    (path,) = folder.glob("attributions_films_*")
    path.write_text(path.read_text().replace('"ot": [0.0', '"ot": [0.4').replace('"ot":[0.0', '"ot":[0.4'))
    page = browser.new_page()
    page.goto(serve(folder).address)
    documents(page).first.click()
    expect(page.locator("#sample")).to_contain_text("is broken")
    page.close()


def test_texts_run_nothing(tmp_path: Path, serve: Serve, look: Look) -> None:
    record = factories.make_record(f"t {HOSTILE}", text=f"<s>User: {HOSTILE} \ud83d")
    factories.write_run(tmp_path, [record, factories.make_skipped("films", reason=HOSTILE)])
    page = look(serve(tmp_path).address)
    documents(page).last.click()
    expect(page.locator("#sample .asked .heat")).to_be_visible()
    assert (
        "<img src=x onerror=alert(2)> {{7*7}} \\x1b[31m" in page.locator("#sample .asked .heat").inner_text()
    )
    assert page.locator("img").count() == 0


def test_the_page_says_that_the_server_has_ended(folder: Path, browser: Browser) -> None:
    server = ViewServer(Following(folder))
    thread = Thread(target=server.serve)
    thread.start()
    page = browser.new_page()
    page.goto(server.address)
    server.close()
    thread.join()
    expect(page.locator("#live")).to_contain_text("gilot view has ended", timeout=15_000)
    page.close()


def test_two_thousand_samples_open_at_once(tmp_path: Path, serve: Serve, look: Look) -> None:
    text = "<s>User: " + " ".join(f"word{number}" for number in range(40))
    (line,) = append(tmp_path, factories.make_record(text=text)).read_text().splitlines()
    lines = [line.replace('"doc_id": 0', f'"doc_id": {number}') for number in range(2_000)]
    assert len(set(lines)) == 2_000
    (tmp_path / attributions_name("films", factories.DATE)).write_text("\n".join([*lines, ""]))

    def seconds() -> float:
        """How long a server that has read nothing yet takes."""
        server = serve(tmp_path)
        began = monotonic()
        expect(documents(look(server.address)).first).to_be_visible()
        return monotonic() - began

    # Other work on the machine only adds to it.
    assert any(seconds() < 2 for _ in range(3))
    page = look(serve(tmp_path).address)
    expect(page.locator("#count")).to_have_text("2000 of 2000 samples", timeout=60_000)


def test_nobody_else_can_read_it(folder: Path, serve: Serve) -> None:
    server = serve(folder)
    address = urlsplit(server.address)
    port = address.port

    def status(path: str, host: str = f"{HOST}:{port}", method: str = "GET") -> int:
        connection = http.client.HTTPConnection(HOST, port, timeout=10)
        connection.request(method, path, headers={"Host": host})
        return connection.getresponse().status

    assert status(address.path) == 200
    assert status(address.path, f"localhost:{port}") == 200
    # A name that somebody else's page had resolved to this machine.
    assert status(address.path, f"example.org:{port}") == 403
    assert status(address.path, HOST) == 403
    for path in (
        "/",
        "/x/",
        address.path[:-2] + "/",
        f"{address.path}../../etc/passwd",
        f"{address.path}nothing",
    ):
        assert status(path) == 404
    assert status(f"{address.path}data/sample/{quote('films/9/p9', safe='')}") == 404
    assert status(f"{address.path}data/sample/{quote('films/0/p0', safe='')}") == 200
    assert status(address.path, method="POST") == 501
