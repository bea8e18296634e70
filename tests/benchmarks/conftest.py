"""Makes the benchmarks' modules importable, as they are for the commands in their folder."""

from __future__ import annotations

import sys
from pathlib import Path

# Last, so that no name of theirs hides another module's.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
