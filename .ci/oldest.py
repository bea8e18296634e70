"""Print constraints: the oldest releases that pyproject.toml allows, of what the numbers depend on."""

import re
from pathlib import Path

import tomllib

#: Whatever else is installed is the newest that goes with them.
HELD = ("lm-eval", "POT", "numpy", "scipy", "torch", "transformers")

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
bounds = dict(
    re.match(r"([\w-]+)(?:\[\w+\])?>?=?([\w.]*)", each).groups() for each in project["dependencies"]
)
print(*(f"{name}=={bounds[name]}" for name in HELD), sep="\n")
