"""Serve the page of a run to this machine, and what the page asks for as the run grows."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from gilot_plugin.artifacts.typed import chosen_method
from gilot_plugin.errors import ArtifactError
from gilot_plugin.reports.html.page import render_page
from gilot_plugin.reports.html.report import REPORT_SCRIPTS, report_values
from gilot_plugin.reports.view.following import Following

#: The one address that is served: nothing but this machine reaches it.
HOST = "127.0.0.1"

#: Seconds between two looks at the files, and the most that reading takes before the page is told.
_PAUSE, _SLICE = 1.0, 0.5


class ViewServer:
    """A run's page under an address that nobody else on the machine can guess.

    Args:
        following: The run.
        port: To listen on; 0 for any that is free.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, following: Following, port: int = 0) -> None:
        self._following = following
        self._ended = Event()
        self._problem: str | None = None
        self._more = True
        self._token = secrets.token_urlsafe(16)
        self._server = ThreadingHTTPServer((HOST, port), _handler(self._answer))
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """Of the page."""
        return f"http://{HOST}:{self._server.server_port}/{self._token}/"

    def serve(self) -> None:
        """Serve until :meth:`close`, from another thread, or an interruption."""
        self._look()  # or a page that is asked for at once would name no model
        reader = Thread(target=self._read, daemon=True)
        reader.start()
        try:
            self._server.serve_forever(poll_interval=0.2)
        finally:
            self._ended.set()
            self._server.server_close()
            reader.join()

    def close(self) -> None:
        """End serving."""
        self._server.shutdown()

    def _read(self) -> None:
        # The page's requests come in between.
        while not self._ended.wait(0.01 if self._more else _PAUSE):
            self._look()

    def _look(self) -> None:
        try:
            self._more, self._problem = self._following.refresh(_SLICE), None
        except ArtifactError as error:
            self._more, self._problem = False, str(error)

    def _answer(self, host: str | None, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, kind and content of what is answered.

        A page elsewhere that has its name resolved to this machine still sends its own name as the host.
        """
        port = self._server.server_port
        if host not in (f"{HOST}:{port}", f"localhost:{port}"):
            return HTTPStatus.FORBIDDEN, "text/plain", b"this page is served to this machine alone"
        token, _, rest = urlsplit(path).path.removeprefix("/").partition("/")
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return _NOT_FOUND
        try:
            if rest == "":
                return HTTPStatus.OK, "text/html", self._page().encode()
            if rest == "state":
                return _json(self._state())
            if rest == "data/list":
                run = self._following.run
                return _json(self._following.rows(chosen_method(run.records)))
            if rest == "data/texts":
                return _json(self._following.texts())
            if rest.startswith("data/sample/"):
                return _json(self._following.sample(unquote(rest.removeprefix("data/sample/"))))
        except KeyError:
            return _NOT_FOUND
        except (ArtifactError, OSError) as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", str(error).encode(errors="replace")
        return _NOT_FOUND

    def _page(self) -> str:
        values = report_values(self._following.run) | {"live": self._words()}
        return render_page("report.html", ("live.js", *REPORT_SCRIPTS), (), values, connects=True)

    def _state(self) -> dict[str, Any]:
        return {"version": list(self._following.version), "words": self._words()}

    def _words(self) -> str:
        if self._problem is not None:
            return self._problem
        if self._more:
            return "Reading the records; the list grows by itself."
        complete = (self._following.run.manifest or {}).get("status") == "complete"
        broken = self._following.broken
        told = f" {broken} records are broken: `gilot validate` says more." if broken else ""
        state = "The run is complete." if complete else "What is explained from now on appears here."
        return f"{state}{told}"


_Answer = tuple[HTTPStatus, str, bytes]
_NOT_FOUND: _Answer = (HTTPStatus.NOT_FOUND, "text/plain", b"there is no such page")


def _json(value: Any) -> _Answer:
    # In ASCII, because texts of models may hold lone surrogates, which UTF-8 has no bytes for.
    return HTTPStatus.OK, "application/json", json.dumps(value, separators=(",", ":")).encode()


def _handler(answer: Callable[[str | None, str], _Answer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Reading requests alone; nothing can be changed from the page."""

        def do_GET(self) -> None:
            """Answer."""
            status, kind, content = answer(self.headers.get("Host"), self.path)
            self.send_response(status)
            for name, value in (*_HEADERS, ("Content-Type", f"{kind}; charset=utf-8")):
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing: the address holds the token."""

    return Handler


_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
