"""Follow README and tutorial in a fresh clone, line by line, as a new user would: ``make test-docs``.

What is cloned is what was committed. Blocks that say why they are not run are left out.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.documentation.blocks import blocks_of  # noqa: E402  # from the repository that this script is of

#: What each page leaves behind.
PAGES = {
    "README.md": ("output/demo/**/report_*.html", "results/**/attributions_manifest_*.json"),
    "docs/tutorial.md": ("results/**/report_*.html", "results/**/ablations_*.jsonl", "README-model.md"),
}
#: `.ci/run` has it by itself.
LEFT_OUT = ("make test",)


def commands(page: str) -> Iterator[str]:
    """The page's scripts: blocks of bash, and what is typed after a prompt."""
    for block in blocks_of(page):
        if block.reason is None and block.language == "bash":
            yield block.text
        elif block.reason is None and block.language == "console":
            typed = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
            yield "\n".join(line for line in typed if line.partition("  ")[0].strip() not in LEFT_OUT)


def main() -> None:
    """Clone, follow, and look whether the promised files are there."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        # A new user has no environment of this project, and none is active.
        mine = ("VIRTUAL_ENV", "PYTHONPATH", "GILOT", "GILOT_ARGS", "MAKEFLAGS", "MAKELEVEL", "VENV")
        environment = {name: value for name, value in os.environ.items() if name not in mine}
        for page, promised in PAGES.items():
            script = "\n".join(commands(page))
            print(f"== {page}\n{script}", flush=True)
            subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=clone, env=environment, check=True)
            missing = [pattern for pattern in promised if not list(clone.glob(pattern))]
            if missing:
                sys.exit(f"{page}: {', '.join(missing)} was not written")
        print("README and tutorial hold what they promise")


if __name__ == "__main__":
    main()
