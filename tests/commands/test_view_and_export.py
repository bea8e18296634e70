"""``gilot view`` and ``gilot export`` as they are typed."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pandas
import pytest

from gilot_plugin import cli
from tests.artifacts import factories
from tests.reports.html.pages import SCORES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    factories.write_run(tmp_path, [factories.make_record(scores=SCORES)])
    return tmp_path


def test_view_serves_until_it_is_interrupted(folder: Path) -> None:
    # A shell's background jobs ignore the signal, and so would what they start.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    run = "import runpy; runpy.run_module('gilot_plugin.cli', run_name='__main__')"
    command = [sys.executable, "-c", f"{heeding}; {run}", "view", str(folder), "--no_browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[0])
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        connection.request("GET", address.path)
        page = connection.getresponse().read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert b"What the answers of tiny-model hang on" in page
    assert process.returncode == cli.DONE
    assert out.strip() == "ended"
    assert err == ""


def test_a_port_that_is_taken_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["view", str(folder), "--no_browser", "--port", str(port)]) == cli.FAILED
    assert f"--port {port} of 127.0.0.1 cannot be listened on" in capsys.readouterr().err
    assert cli.main(["view", str(folder), "--no_browser", "--port", "99999"]) == cli.FAILED


def test_view_and_export_name_a_folder_without_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("view", "export"):
        assert cli.main([command, str(tmp_path)]) == cli.FAILED
        assert "holds no attributions" in capsys.readouterr().err


def test_export_writes_beside_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(folder)]) == cli.DONE
    written = [Path(line) for line in capsys.readouterr().out.split()]
    assert {path.parent for path in written} == {folder / f"export_{factories.DATE}_parquet"}
    units = pandas.read_parquet(next(path for path in written if path.name == "units.parquet"))
    assert list(units["ot"]) == SCORES["ot"]
    # What was written is no artifact: the run is found as before.
    assert (
        cli.main(["export", str(folder), "--format", "csv", "--output_path", str(folder / "csv")]) == cli.DONE
    )
    assert (folder / "csv" / "units.csv").is_file()
