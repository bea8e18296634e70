"""Keep our section of lm-eval's own configuration file (``--config``) from lm-eval."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.config.evaluate_config import EvaluatorConfig

from gilot_plugin.settings.sources import SECTION


@contextmanager
def without_section() -> Iterator[None]:
    """Keep the section from lm-eval, which refuses names that it does not know."""
    original = EvaluatorConfig.__dict__["load_yaml_config"]

    def load(path: str | Path) -> dict[str, Any]:
        content: dict[str, Any] = original.__func__(path)
        return {key: value for key, value in content.items() if key != SECTION}

    EvaluatorConfig.load_yaml_config = staticmethod(load)
    try:
        yield
    finally:
        EvaluatorConfig.load_yaml_config = original
