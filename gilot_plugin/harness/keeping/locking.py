"""One process at a time writes the files of a run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gilot_plugin.artifacts.names import lock_name
from gilot_plugin.errors import ConfigError

_LOGGER = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, date: str) -> Iterator[None]:
    """Hold a run for this process inside the block.

    The system lets go of it when the process ends, however that comes about.

    Args:
        folder: Of the run; created if need be.
        date: Of the run.

    Raises:
        ConfigError: Another process holds it.
    """
    path = folder / lock_name(date)
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"another process is at work on the run of {date} in {folder}: wait until it ends, or stop it"
        ) from None
    except (OSError, NotImplementedError) as error:
        _LOGGER.warning("%s cannot be locked (%s): let no other process resume the run", folder, error)
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            path.unlink()
        lock.release()
