"""What we write ourselves into a source's change log and signal topic, and how the consumer tells it from the rest.

Control records stand in the change log at their place: a gap that somebody declares, a snapshot whose reading the log
has passed, a dead letter that is tried again. The id of a snapshot that we signal says whether it reads its tables
whole; one that somebody else signals may have a filter that nobody tells us, so it never proves that a row is gone.
"""

from __future__ import annotations

import secrets

import msgspec

WHOLE, PART = "wake-whole-", "wake-part-"
"""How the ids of our snapshots begin."""
IN_PART = "in part: "
"""How the reason begins for which a snapshot is not believed that was not to read its table whole."""
DOCUMENTS_A_RECORD = 500
"""Documents that one record for a dead letter tells."""


class Control(msgspec.Struct, frozen=True):
    """The value of a control record; which of it counts, its kind tells."""

    reason: str = ""
    tables: list[str] | None = None
    """None for all."""
    ts_ms: int = 0
    ended: int = -1
    """`snapshot`: the offset of the notification with which it ended."""
    revision: str = ""
    """`revision`: what the stored revision calls the record from which on it is in force."""
    letter: int = 0
    """`letter`: the dead letter that is tried again here."""


_decoder = msgspec.json.Decoder(Control)


def key(kind: str) -> bytes:
    """The key of a control record: `gap`, `snapshot`, `revision`, `restored` or `letter`."""
    return msgspec.json.encode({"wake": kind})


def encode(control: Control) -> bytes:
    """A control record's value."""
    return msgspec.json.encode(control)


def decode(value: bytes | None) -> Control:
    """Raises `msgspec.DecodeError` or `UnicodeDecodeError` for a value that is none."""
    return _decoder.decode(value or b"{}")


def snapshot_id(*, whole: bool) -> str:
    """A new id for a snapshot."""
    return (WHOLE if whole else PART) + secrets.token_hex(8)


def reads_whole(identifier: str | None) -> bool:
    """Whether the snapshot with this id reads every row of its tables."""
    return (identifier or "").startswith(WHOLE)
