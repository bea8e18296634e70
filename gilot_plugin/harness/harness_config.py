"""A section with attribution settings in lm-eval's own configuration file (``--config``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lm_eval.config.evaluate_config import EvaluatorConfig

from gilot_plugin.config_sources import as_mapping, read_yaml
from gilot_plugin.merging import Source

#: Name of the section.
SECTION = "gilot"


def read_section(file: str) -> Source:
    """The attribution settings of a configuration file; none where it has no such section.

    Raises:
        ConfigError: The file cannot be read, or the section is not a mapping.
    """
    name = f"--config {file}: {SECTION}"
    return Source(name, as_mapping(read_yaml(Path(file), "--config").get(SECTION), name))


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
