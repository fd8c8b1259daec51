"""The error tree of the whole product. Loops match on the families only, never on messages.

WakeError
├─ ConfigurationError     the file or the command is at fault; nothing was started (exit 2)
├─ RefusedError           we looked and the answer is no: an unknown id, a forbidden move (exit 1)
├─ EventError             this message or event is at fault: a dead letter; others go on
├─ TransientError         the world is at fault: the same work again, later
└─ FatalError             we or the set-up are at fault: stop, commit nothing
   └─ TakenOverError      another process does this work now
"""

from __future__ import annotations


class WakeError(Exception):
    """Something went wrong; the message says what, where, and what to do."""


class ConfigurationError(WakeError):
    """The configuration or the command line is wrong. One line for each problem.

    Raise `FatalError` instead when the file is right and the world does not fit it.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class RefusedError(WakeError):
    """The request is understood and may not be done; the message says why and what can be done instead."""


class EventError(WakeError):
    """One message cannot be processed, now or later. It becomes a dead letter and the stream goes on.

    Raise `TransientError` instead when the same message may succeed later.
    """

    def __init__(self, reason: str, *, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class TransientError(WakeError):
    """A peer is away or busy; the same work is to be tried again.

    Raise `FatalError` instead when waiting cannot help.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, family: str = "") -> None:
        self.retry_after_s = retry_after_s
        self.family = family
        """Who is at fault, where that says how soon to try again."""
        super().__init__(message)


class FatalError(WakeError):
    """Going on would be wrong or useless: the process stops and commits nothing."""


class TakenOverError(FatalError):
    """Another process has become the owner of this work: nothing of it may be written here any more."""
