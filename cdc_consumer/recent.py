"""What the change log told shortly before a place.

A transaction can stand in the log before other sessions see it: its server sends a commit as soon as that is on disk,
and lets it be seen afterwards, with synchronous replication once a standby has answered. What is read from the tables
meanwhile is older than its place in the log.
"""

from __future__ import annotations

from collections.abc import Mapping

from cdc_consumer import decode
from cdc_consumer.collect import transaction_id
from cdc_consumer.decode import Change
from cdc_consumer.rereading import Log
from wakestream.errors import EventError

SHORTLY = 30_000  # ms, of the clock of the Connect worker
MOST = 100_000  # records that are looked at
FAR = 2**62  # the latest time that a broker takes, about


def keys(log: Log, offset: int, ts_ms: int, behind: Mapping[str, int]) -> list[Change]:
    """What transactions changed that ended in the log shortly before this offset, where the time was `ts_ms`.

    Of each table that is named in `behind`, and there only what stands behind that offset. Only keys are kept, as
    deletes: the images may be many, and large.
    """
    earliest = min(max(ts_ms - SHORTLY, 0), FAR)  # somebody may have written any number there
    first = max(log.since(earliest), offset - MOST)
    opened: dict[str, list[Change]] = {}
    found: list[Change] = []
    for at, key, value in log.between(first, offset) if first < offset else ():
        try:
            envelope = decode.decode(value)
            if envelope.status == "END":
                found += opened.pop(transaction_id(envelope.id), [])
            if envelope.transaction is None or envelope.op in ("m", "t") or (envelope.ts_ms or 0) < earliest:
                continue
            change, tx = decode.change_of(envelope, key), transaction_id(envelope.transaction.id)
        except EventError:
            continue  # which has its dead letter
        if at > behind.get(change.table, at):
            opened.setdefault(tx, []).append(Change("d", change.table, change.key, None))
    return found
