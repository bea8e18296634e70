"""The wheel alone, without the repository, does what the package does."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_evaluates_and_explains(tmp_path: Path) -> None:
    """What it depends on comes from this environment; `make test-wheel` installs that, too."""
    dist, home = tmp_path / "dist", tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", dist, ROOT], check=True)
    (wheel,) = dist.glob("*.whl")
    venv.create(home, with_pip=True, symlinks=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-qq", "--no-deps", wheel], check=True)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()
    # After the environment's own, so the wheel's package is the one that counts.
    installed = [folder for folder in sys.path if folder.endswith("site-packages")]
    (Path(own) / "dependencies.pth").write_text("\n".join(installed))
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-I", ROOT / ".ci" / "try_wheel.py"],
        cwd=empty,
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
