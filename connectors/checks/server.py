"""The server: what logical decoding needs of it, and what would end or fill it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from connectors.checks.finding import Finding, finding, size, span
from connectors.checks.remedies import literal, logical, setting
from connectors.checks.subject import Subject
from connectors.databases import Connection

POOLER_SAYS = "unsupported startup parameter"
MINIMUM_VERSION = 140000
STATUS_INTERVAL = 10_000  # milliseconds between Debezium's messages to the server
SHORT_OUTAGE = 3600.0  # seconds for which a slot must survive without a reader
KEEP_FOR = 86400.0  # seconds of WAL that a limit should allow
KEEP_AT_LEAST = 10 * 1024**3  # bytes
IDLE_AT_LEAST = 86400.0  # seconds
LONG_TRANSACTION = 60.0  # seconds
SHORT_WINDOW = 600.0  # seconds over which WAL is averaged at least
HIDDEN_AGE = 10_000  # transactions begun since, where the time itself may not be seen

_SETTINGS = (
    *("wal_level", "max_replication_slots", "max_wal_senders", "max_slot_wal_keep_size", "wal_sender_timeout"),
    *("idle_replication_slot_timeout", "server_encoding"),
)
_UNITS = {"ms": 1, "s": 1000, "min": 60_000}


def examine(subject: Subject) -> Iterator[Finding]:
    """Everything about the server that a reader of its WAL depends on."""
    found = {
        name: (value, unit)
        for name, value, unit in subject.reader.execute(
            "select name, setting, unit from pg_settings where name = any(%s)", (list(_SETTINGS),)
        ).fetchall()
    }
    settings = {name: value for name, (value, _) in found.items()}
    yield from _kind(subject, settings)
    if subject.version < MINIMUM_VERSION:
        return  # It does not know what is asked below.
    yield from _room(subject, settings)
    yield from _wal(subject, settings)
    yield from _timeouts(subject, found)
    yield from _transactions(subject)


def _kind(subject: Subject, settings: dict[str, str]) -> Iterator[Finding]:
    pid, standby = _row(subject.reader, "select pg_backend_pid(), pg_is_in_recovery()")
    if pid != subject.reader.info.backend_pid:
        yield pooler(
            subject.whole, f"the session has process {pid}, and the connection said {subject.reader.info.backend_pid}"
        )
    if subject.version < MINIMUM_VERSION:
        evidence = f"PostgreSQL {subject.version // 10000}; {MINIMUM_VERSION // 10000} or newer is needed"
        yield finding("server.version", subject.whole, evidence, "none: upgrade the server")
    if standby:
        evidence = "the server is a standby, where no clock and no watermark can be written"
        yield finding("server.standby", subject.whole, evidence, "none: name the primary in `capture`")
    if settings["wal_level"] != "logical":
        evidence = f"wal_level is {settings['wal_level']}: nothing can be decoded"
        yield finding("server.wal_level", subject.whole, evidence, logical(subject.service))
    if settings["server_encoding"] == "SQL_ASCII":
        evidence = "the database's encoding is SQL_ASCII: text that is not UTF-8 would arrive damaged"
        yield finding(
            "server.encoding", subject.whole, evidence, "none: the encoding is fixed; dump and restore as UTF8"
        )


def pooler(whole: str, evidence: str) -> Finding:
    """A pooler answers where a server should; its kind of session cannot carry replication."""
    remedy = "none: give the server's own host and port in `capture`, not the pooler's"
    return finding("server.pooler", whole, f"a connection pooler is in front of the server: {evidence}", remedy)


def _room(subject: Subject, settings: dict[str, str]) -> Iterator[Finding]:
    slots, ours, active, senders = _row(
        subject.reader,
        "select count(*), count(*) filter (where slot_name = %(slot)s),"
        " count(*) filter (where slot_name = %(slot)s and active), (select count(*) from pg_stat_replication)"
        " from pg_replication_slots",
        {"slot": subject.slot},
    )
    for id, name, used, needed in (
        ("server.slots", "max_replication_slots", slots, not ours),
        ("server.walsenders", "max_wal_senders", senders, not active),
    ):
        limit = int(settings[name])
        if needed and used >= limit:
            evidence = f"all {limit} of {name} are in use"
            yield finding(id, subject.whole, evidence, setting(subject.service, name, str(limit + 4), restart=True))


def _wal(subject: Subject, settings: dict[str, str]) -> Iterator[Finding]:
    total, seconds = _row(
        subject.reader,
        "select wal_bytes::float8, greatest(%s, extract(epoch from clock_timestamp()"
        " - coalesce(stats_reset, pg_postmaster_start_time())))::float8 from pg_stat_wal",
        (SHORT_WINDOW,),
    )
    rate, limit = total / seconds, int(settings["max_slot_wal_keep_size"]) * 1024 * 1024
    enough = f"{math.ceil(max(KEEP_AT_LEAST, rate * KEEP_FOR) / 1024**3)}GB"
    remedy = setting(subject.service, "max_slot_wal_keep_size", enough)
    if limit < 0:
        if "max_slot_wal_keep_size cannot be set" in subject.service.note:
            remedy = f"none: {subject.service.name} does not let it be set; watch the slot with `wake guard`"
        evidence = (
            "max_slot_wal_keep_size is -1: a slot that nobody reads keeps WAL until the disk is full"
            f" (here {size(rate * 3600)} an hour on average)"
        )
        yield finding("server.wal_unlimited", subject.whole, evidence, remedy)
    elif limit < rate * SHORT_OUTAGE:
        evidence = (
            f"max_slot_wal_keep_size is {size(limit)}, and {size(rate * 3600)} of WAL are written an hour on average:"
            f" a slot that nobody reads is lost after {span(limit / rate)}"
        )
        yield finding("server.wal_rate", subject.whole, evidence, remedy)


def _timeouts(subject: Subject, found: dict[str, tuple[str, str | None]]) -> Iterator[Finding]:
    patience = int(found["wal_sender_timeout"][0])
    if 0 < patience <= STATUS_INTERVAL:
        evidence = f"wal_sender_timeout is {patience} ms, and Debezium reports every {STATUS_INTERVAL} ms"
        remedy = setting(subject.service, "wal_sender_timeout", "60s")
        yield finding("server.wal_sender_timeout", subject.whole, evidence, remedy)
    value, unit = found.get("idle_replication_slot_timeout", ("0", None))
    idle = int(value) * _UNITS.get(unit or "s", 1000) / 1000
    if 0 < idle < IDLE_AT_LEAST:
        evidence = f"a slot that is not read for {span(idle)} is lost (idle_replication_slot_timeout)"
        remedy = setting(subject.service, "idle_replication_slot_timeout", "0")
        yield finding("server.idle_slot_timeout", subject.whole, evidence, remedy)


def _transactions(subject: Subject) -> Iterator[Finding]:
    """Transactions that have written: a slot is made only when all of them that run have ended."""
    if (
        subject.source
        and _row(subject.reader, "select count(*) from pg_replication_slots where slot_name = %s", (subject.slot,))[0]
    ):
        return
    rows = subject.reader.execute(
        "select pid, usename, extract(epoch from clock_timestamp() - xact_start)::float8, age(backend_xid), query"
        " from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()"
        " and (clock_timestamp() - xact_start >= make_interval(secs => %s)"
        "      or xact_start is null and age(backend_xid) >= %s) order by xact_start",
        (LONG_TRANSACTION, HIDDEN_AGE),
    ).fetchall()
    for pid, user, seconds, age, query in rows:
        since = f"for {span(seconds)}" if seconds is not None else f"while {age} others began"
        said = f": {' '.join(query.split())[:80]}" if seconds is not None and query else ""
        evidence = (
            f"process {pid} of {user} has been in a writing transaction {since}, and a slot is made behind it{said}"
        )
        remedy = f"select pg_terminate_backend({pid});  -- rolls it back; or wait"
        yield finding("server.long_transaction", subject.whole, evidence, remedy)
    prepared = subject.reader.execute(
        "select gid, owner, database, extract(epoch from clock_timestamp() - prepared)::float8 from pg_prepared_xacts"
        " where clock_timestamp() - prepared >= make_interval(secs => %s)",
        (LONG_TRANSACTION,),
    ).fetchall()
    for gid, owner, database, seconds in prepared:
        evidence = (
            f"the prepared transaction {gid} of {owner} in database {database} has been waiting for {span(seconds)},"
            " and a slot is made behind it"
        )
        remedy = f"rollback prepared {literal(gid)};  -- or commit it; in database {database}"
        yield finding("server.prepared_transaction", subject.whole, evidence, remedy)


def _row(connection: Connection, query: str, values: Any = None) -> Any:
    return connection.execute(query.encode(), values).fetchone()
