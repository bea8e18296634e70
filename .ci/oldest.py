"""Print constraints: the oldest releases that pyproject.toml allows, of what the numbers depend on."""

import re
from pathlib import Path

import tomllib

ROOT = Path(__file__).parents[1]

#: Whatever else is installed is the newest that goes with them.
HELD = ("lm-eval", "POT", "numpy", "scipy", "transformers")

#: torch stays as in constraints.txt: an old release comes as gigabytes for GPUs, minutes of each run.
torch = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
bounds = dict(re.match(r"([\w-]+)(?:\[\w+\])?>?=?([\w.]*)", each).groups() for each in dependencies)
print(torch.group(), *(f"{name}=={bounds[name]}" for name in HELD), sep="\n")
