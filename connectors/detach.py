"""Detaches from a source: takes away what `apply` made there, and what the ledger keeps of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
from psycopg import sql

from connectors import databases, ledger_setup, publication, revisions, secrets_setup, slot, snapshot_log, topics_setup
from connectors.connect import Connect
from connectors.steps import Report, tell_nobody
from wakestream import kafka, topics
from wakestream.config import Loaded, reveal
from wakestream.errors import RefusedError

CONNECT_PATIENCE = 20.0  # seconds for a worker that is away or busy
_STORE_TABLES = (
    *("source_position", "mirror_state", "missing_value", "snapshot_row", "guard_state", "drift"),
    *("adopted_position", "adopted_row"),
)


def detach(loaded: Loaded, source: str, *, with_topics: bool = False, report: Report = tell_nobody) -> list[str]:
    """Remove connector, offsets, slot, publication, secrets and the context store of a source; returns what was done.

    Of an adopted source it is the context store alone: everything else is somebody else's.
    What is gone already is passed over, so it may be repeated until it succeeds. Runs, actions and their history stay.
    """
    databases.require_source(loaded, source)
    done: list[str] = []
    with ExitStack() as stack:
        ledger = stack.enter_context(ledger_setup.locked(reveal(loaded.config.ledger.url), report))
        adopted = loaded.config.sources[source].adopt is not None
        if adopted:
            _require_adopted(ledger, source)
        steps = (
            _ours(loaded, source, ledger, with_topics=with_topics, adopted=True)
            if adopted
            else _steps(loaded, source, ledger, stack, with_topics=with_topics)
        )
        for what in steps:
            report(what)
            done.append(what)
    return done


def _steps(
    loaded: Loaded, source: str, ledger: psycopg.Connection, stack: ExitStack, *, with_topics: bool
) -> Iterator[str]:
    """Each thing that was done, after it was."""
    client = stack.enter_context(Connect(loaded.config.connect.url, retry_s=CONNECT_PATIENCE))
    if client.delete_with_offsets(topics.connector(source)):
        yield f"deleted connector {topics.connector(source)} and its offsets"
    reader = stack.enter_context(databases.capture(loaded, source, purpose="detach"))
    with databases.asking(f"source {source}, dropping its slot"):
        if slot.drop(reader, source):
            yield f"dropped replication slot {topics.slot(source)}"
    yield from _drop_publication(loaded, source, reader, stack)
    if secrets_setup.remove(Path(loaded.config.connect.secrets), source):
        yield f"removed {source}.user and {source}.password from {loaded.config.connect.secrets}"
    yield from _ours(loaded, source, ledger, with_topics=with_topics, adopted=False)
    _verify(reader, source)


def _ours(
    loaded: Loaded, source: str, ledger: psycopg.Connection, *, with_topics: bool, adopted: bool
) -> Iterator[str]:
    """What of a source is in our own ledger, and our topics."""
    with databases.asking("the ledger, while the consumer may still run"):
        yield from _clear_ledger(ledger, source, with_topics=with_topics)
    if with_topics:
        config = loaded.config.kafka
        deleted = topics_setup.delete(kafka.admin(config), source, config.topics, adopted=adopted)
        yield from (f"deleted topic {topic}" for topic in deleted)


def _require_adopted(ledger: psycopg.Connection, source: str) -> None:
    """Refuse to leave a connector of ours behind. Raises `RefusedError`."""
    previous = ledger_setup.newest_revision(ledger, source)
    if previous is not None and previous.capture.adopted is None:
        raise RefusedError(
            f"source {source} was attached by {topics.connector(source)}, which has to go too:"
            f" `wake detach {source}` with the file as it was, without `adopt`"
        )


def _drop_publication(loaded: Loaded, source: str, reader: databases.Connection, stack: ExitStack) -> Iterator[str]:
    with databases.asking(f"source {source}, looking at its publication"):
        if publication.find(reader, source) is None:
            return
    admin = databases.admin(loaded, source, purpose="detach")
    if admin is not None:
        publication.drop(stack.enter_context(admin), source)
        yield f"dropped publication {topics.slot(source)}"


def _clear_ledger(ledger: psycopg.Connection, source: str, *, with_topics: bool) -> Iterator[str]:
    row = ledger.execute("select to_regclass('wake.revision') is not null").fetchone()
    if row is None or not row[0]:
        return
    with ledger.transaction():
        ledger.execute("select set_config('lock_timeout', %s, true)", (str(databases.LOCK_TIMEOUT),))
        schemas = _mirror_schemas(ledger, source)
        for schema in schemas:
            ledger.execute(sql.SQL("drop schema {} cascade").format(sql.Identifier(schema)))
        for table in _STORE_TABLES:
            ledger.execute(sql.SQL("delete from {} where source = %s").format(sql.Identifier("wake", table)), (source,))
        ledger.execute(
            "update wake.gap set state = 'closed', closed_at = clock_timestamp() where source = %s and state = 'open'",
            (source,),
        )
        if with_topics:  # A new topic starts at offset 0, and with a `log` that the old reader may have seen.
            ledger.execute("delete from wake.partition_position where topic = %s", (topics.context(source),))
        snapshot_log.forget(ledger, source)
        revisions.forget(ledger, source)
    if schemas:
        yield f"dropped the context store of {source} in the ledger ({', '.join(schemas)}); runs and actions stay"


def _mirror_schemas(ledger: psycopg.Connection, source: str) -> list[str]:
    """Schemas of mirrors that exist, by what was ever captured: a prefix could be another source's too."""
    captured = ledger.execute(
        "select distinct split_part(label, '.', 1) from wake.revision r, jsonb_object_keys(r.capture -> 'tables') label"
        " where r.source = %s",
        (source,),
    ).fetchall()
    wanted = [topics.mirror_schema(source, schema) for (schema,) in captured]
    rows = ledger.execute("select nspname::text from pg_namespace where nspname = any(%s) order by 1", (wanted,))
    return [name for (name,) in rows.fetchall()]


def _verify(reader: databases.Connection, source: str) -> None:
    """Look once more at the source.

    Raises `RefusedError` when something of ours is left, with what removes it.
    """
    with databases.asking(f"source {source}, looking for what is left"):
        left = ["the replication slot"] if slot.find(reader, source) is not None else []
        if publication.find(reader, source) is not None:
            left.append(
                f"the publication, for sources.{source}.admin is not set; have its owner run"
                f" `drop publication {topics.slot(source)}`"
            )
    if left:
        raise RefusedError(f"source {source}: what is left in the database: {' and '.join(left)}")
