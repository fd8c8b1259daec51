"""The replication slot: that it is Debezium's, is read, and still has all its WAL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from connectors.checks.finding import Finding, finding, size
from connectors.checks.remedies import literal
from connectors.checks.subject import Subject
from connectors.connect import types

RETAINED = 1024**3  # bytes for which somebody should look, where no limit is set


class _Slot(NamedTuple):
    active_pid: int | None
    wal_status: str
    retained: int
    safe: int | None
    """Bytes that may still be written before it is lost; None where nothing limits it."""
    usable: bool
    """Made by Debezium or as it would be, in this database."""
    described: str
    reader: str


def examine(subject: Subject, *, asked: bool, connector: types.Status | None) -> Iterator[Finding]:
    """`asked` says whether Connect has told of its connectors; None is then: there is none."""
    row: Any = subject.reader.execute(
        "select s.active_pid, coalesce(s.wal_status, 'unknown'),"
        " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn), 0)::bigint, s.safe_wal_size,"
        " coalesce(s.plugin = 'pgoutput' and s.database = current_database(), false),"
        " concat_ws(' ', s.slot_type, s.plugin, 'of database ' || s.database),"
        " concat_ws(' ', a.application_name, 'of', a.usename, 'from ' || host(a.client_addr))"
        " from pg_replication_slots s left join pg_stat_replication a on a.pid = s.active_pid where s.slot_name = %s",
        (subject.slot,),
    ).fetchone()
    slot = _Slot(*row) if row else None
    if slot is None:
        if connector is not None and not connector.stopped and connector.running:
            evidence = f"the connector is RUNNING and there is no slot {subject.slot}: nothing is read"
            remedy = f"run: wake repair {subject.source}"
            yield finding("slot.missing", subject.of(f"slot {subject.slot}"), evidence, remedy)
    elif not slot.usable:
        evidence = f"{subject.slot} is a {slot.described}, and Debezium needs a logical pgoutput one of this database"
        yield finding("slot.unusable", subject.of(f"slot {subject.slot}"), evidence, _drop(subject, slot))
    elif asked and connector is None:
        yield _nobodys(subject, slot)
    else:
        yield from _state(subject, slot, connector)


def _drop(subject: Subject, slot: _Slot) -> str:
    name = literal(subject.slot)
    end = f"select pg_terminate_backend({slot.active_pid}, 10000);\n" if slot.active_pid else ""
    return f"{end}select pg_drop_replication_slot({name});"


def _nobodys(subject: Subject, slot: _Slot) -> Finding:
    of = subject.of(f"slot {subject.slot}")
    if slot.active_pid:
        evidence = (
            f"there is no connector, and somebody else reads {subject.slot}: process {slot.active_pid}, {slot.reader}"
        )
        return finding("slot.foreign", of, evidence, _drop(subject, slot))
    evidence = (
        f"there is a slot {subject.slot} and no connector: a snapshot beside an old slot would not be consistent,"
        f" and it keeps {size(slot.retained)} of WAL"
    )
    return finding("slot.left_over", of, evidence, _drop(subject, slot))


def _state(subject: Subject, slot: _Slot, connector: types.Status | None) -> Iterator[Finding]:
    of = subject.of(f"slot {subject.slot}")
    if slot.wal_status == "lost":
        evidence = f"the server has removed WAL that {subject.slot} still needed: changes are missing"
        yield finding("slot.lost", of, evidence, f"run: wake repair {subject.source}")
        return
    if slot.active_pid is None and connector is not None and connector.running:
        evidence = f"the connector is RUNNING and nobody reads {subject.slot}, which keeps {size(slot.retained)} of WAL"
        yield finding("slot.inactive", of, evidence, f"run: wake repair {subject.source}")
    high = slot.retained >= RETAINED if slot.safe is None else slot.safe < slot.retained
    if high:
        left = "" if slot.safe is None else f"; after {size(max(0, slot.safe))} more it is lost"
        evidence = f"the server keeps {size(slot.retained)} of WAL for {subject.slot}{left}"
        remedy = f"none: have it read (`wake status {subject.source}` says what stands still), or detach"
        yield finding("slot.retained", of, evidence, remedy)
