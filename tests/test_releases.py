"""The same tests on every release of lm-eval that is supported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent

#: Tests of what meets lm-eval's own objects.
_FILES = (
    *("caches", "conversations", "fed_tokens", "hooks", "interruptions", "parts", "records", "request_types"),
    *("resume", "segments", "selection", "several_processes", "unchanged_scores"),
)

#: Tests that need a task class or a model class which the older releases take from elsewhere.
_NEWER = ("tasks_of_their_own_kind", "conversation_that_is_not_what_was_seen", "dummy_model")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("release", ["0.4.10", "0.4.11", "0.4.12"])
def test_on_another_release(release: str, tmp_path: Path) -> None:
    """The package alone is put first on the path: its dependencies are the same."""
    install = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", str(tmp_path)]
    subprocess.run([*install, f"lm_eval=={release}"], check=True)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{_ROOT}", "HF_HUB_OFFLINE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", "import importlib.metadata as m; print(m.version('lm_eval'))"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == release
    files = [f"tests/harness/test_{name}.py" for name in _FILES]
    left_out = " and ".join(f"not {name}" for name in _NEWER) if release < "0.4.12" else ""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *files]
    done = subprocess.run(
        [*command, "-k", left_out], env=environment, cwd=_ROOT, capture_output=True, text=True, timeout=850
    )
    assert done.returncode == 0, done.stdout[-4000:]
