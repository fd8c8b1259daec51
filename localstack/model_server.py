"""The local model's HTTP server: started once, remembered in the state directory."""

from __future__ import annotations

from pathlib import Path


def served_url(home: Path) -> str | None:
    """Return the base URL of the model served from this state directory, else None."""
    del home
    return None
