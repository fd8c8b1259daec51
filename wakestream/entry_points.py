"""What a function that actions of kind `python` call gets, and how it says that it should be called again."""

from __future__ import annotations

from dataclasses import dataclass


class Again(Exception):  # noqa: N818 - it is no error: the function asks for it
    """Nothing has happened yet, for a passing reason: call me again later.

    Raise anything else where calling again is no use.
    """

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        self.reason = reason
        self.after_s = after_s
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Context:
    """On whose behalf a function is called."""

    action: str
    """The action's id: the same in every attempt, so the key by which a repetition is known."""
    name: str
    """The action's name in the configuration."""
    run: str
    trigger: str
    keys: tuple[str, ...]
    """The subjects that the run is about."""
    depth: int
    cause: str
    """The token for `Wake-Cause`: a service that passes it on keeps the chain of causes."""
