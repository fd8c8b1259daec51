"""What strangers write into a change log, or into the database to look like us: kept with its reason, and passed."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.harness.processes import ConsumerProcess
from tests.harness.source import AttachedSource, attached
from wakestream import marks
from wakestream.events import Cause
from wakestream.ledger import settings

DDL = "create table flight (id int primary key, status text, doc json)"
CAUSE = Cause("action-1", "run-1", "trigger", ("public.flight/1",), 1)
STRANGE = {
    "not a change": b"hello",
    "unknown message": b'{"before": null, "after": {"id": 1}, "source": {"table": "flight"}}',
    "no value": None,
    "unknown operation": b'{"op":"x","source":{"schema":"public","table":"flight"},"transaction":null}',
    "incomplete change": b'{"status":"END","id":"nonsense:nonsense","event_count":0}',
}


@pytest.fixture
def source(env: dict[str, str], tmp_path: Path) -> Generator[AttachedSource]:
    with attached(env, DDL, ["public.flight"]) as source, ConsumerProcess(source.raw_config, tmp_path) as consumer:
        consumer.start()
        source.wait_mirrored()
        yield source
        assert consumer.is_running
        assert consumer.stop() == 0


def test_strange_messages_in_the_change_log(source: AttachedSource) -> None:
    for value in STRANGE.values():
        source.produce_change(b'{"id":1}', value)
    body = {"op": "r", "after": {"id": 1}, "source": {"schema": "public", "table": "seat"}, "transaction": None}
    source.produce_change(b'{"id":1}', json.dumps(body).encode())
    source.produce_change(b"no json", json.dumps({**body, "source": {"schema": "public", "table": "flight"}}).encode())
    source.produce_change(b'{"wake":"party"}', b"{}")
    with source.connect() as connection:
        connection.execute("insert into flight values (7, 'behind all of it')")
    source.wait_applied()
    context = source.context()
    context.verify_contract()
    kinds = [kind for kind, _ in source.dead_letters()]
    assert kinds == [*STRANGE, "unknown table", "incomplete change", "unknown control record"]
    assert [each.event["subject"] for each in context.of_type("row.inserted", "row.read")] == ["public.flight/7"]
    assert context.of_type("row.inserted")[0].data["missing"] == []


def test_a_dead_letter_keeps_no_payload(source: AttachedSource) -> None:
    source.produce_change(None, b"secret words")
    source.wait_applied()
    with source.ledger() as connection:
        (letter,) = connection.execute(
            "select to_jsonb(d.*)::text from wake.dead_letter as d where topic = %s", (f"{source.name}.changes",)
        ).fetchall()
    assert "secret" not in letter[0]
    assert json.loads(letter[0])["reason"]


def test_marks_that_are_not_ours(source: AttachedSource) -> None:
    with source.ledger() as connection:
        key = settings.key(connection, settings.MARK_KEY)
    emit = "select pg_logical_emit_message(true, 'wake', %s::text)"
    with source.connect() as connection:
        with connection.transaction():
            row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
            assert row is not None
            mark = marks.sign_mark(key, CAUSE, row[0])
            connection.execute(emit, (mark,))
            connection.execute("insert into flight values (1)")
        for content in (mark, marks.sign_mark(b"another key", CAUSE, row[0]), '{"action": "action-1"}', "hello"):
            with connection.transaction():
                connection.execute(emit, (content,))
                connection.execute("insert into flight select max(id) + 1 from flight")
    source.wait_applied()
    context = source.context()
    context.verify_contract()
    rows = context.of_type("row.inserted")
    assert [each.data["cause"] and each.data["cause"]["action"] for each in rows] == ["action-1", *[None] * 4]
    assert [kind for kind, _ in source.dead_letters()] == ["forged mark"] * 4
    with source.ledger() as connection:
        query = 'select action, "commit", rows from wake.receipt where source = %s'
        assert connection.execute(query, (source.name,)).fetchall() == [("action-1", rows[0].position.commit, 1)]


def test_a_value_that_the_ledger_cannot_read(source: AttachedSource) -> None:
    with source.connect() as connection:
        connection.execute("""insert into flight values (1, 'a', '{}'), (2, 'b', '"\\u0000"'), (3, 'c', '{}')""")
        connection.execute("update flight set doc = '[]'")
    source.wait_applied()
    context = source.context()
    context.verify_contract()
    found = [(each.event["subject"], each.data["missing"]) for each in context.of_type("row.inserted", "row.updated")]
    assert found == [
        ("public.flight/1", []),
        ("public.flight/2", ["after"]),
        ("public.flight/3", []),
        ("public.flight/1", []),
        ("public.flight/2", ["before"]),
        ("public.flight/3", []),
    ]
    assert [kind for kind, _ in source.dead_letters()] == ["unreadable value"]
