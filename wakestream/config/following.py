"""A configuration whose file may change while a process runs."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from wakestream.config.loading import Loaded, load
from wakestream.errors import ConfigurationError

logger = logging.getLogger(__name__)


class Following:
    """Reads the file again when it, or a prompt that it names, says something else."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._seen = _stamp(loaded)

    def look(self) -> Loaded | None:
        """What the file says now, if it has changed since the last look; a fault in it is logged once."""
        stamp = _stamp(self._loaded)
        if stamp == self._seen:
            return None
        self._seen = stamp
        path = self._loaded.document.path
        try:
            self._loaded = load(path, self._loaded.environment)
        except ConfigurationError as error:
            logger.warning("%s has changed and is not taken up: %s", path, error, extra={"action": "file_refused"})
            return None
        self._seen = _stamp(self._loaded)
        return self._loaded


def _stamp(loaded: Loaded) -> list[tuple[str, int, int, int]]:
    """What changes when somebody writes one of the files."""
    prompts = {loaded.directory / agent.instructions for agent in loaded.config.agents.values()}
    found: list[tuple[str, int, int, int]] = []
    for path in [loaded.document.path, *sorted(prompts)]:
        with contextlib.suppress(OSError):
            about = Path(path).stat()
            found.append((str(path), about.st_ino, about.st_mtime_ns, about.st_size))
    return found
