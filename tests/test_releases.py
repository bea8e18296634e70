"""The same tests on every release of lm-eval that is supported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("release", ["0.4.10", "0.4.12"])
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
    # By their marker, which moves with them. Where nothing is marked, pytest fails.
    chosen = ["-m", "lm_eval and not slow", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command = [sys.executable, "-m", "pytest", "-q", *chosen]
    done = subprocess.run(command, env=environment, cwd=_ROOT, capture_output=True, text=True, timeout=1700)
    assert done.returncode == 0, done.stdout[-4000:]
