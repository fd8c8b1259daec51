from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import msgspec
import psycopg
import pytest

from agent.effects import sql
from agent.effects.outcome import Again, Failed, Pending, Succeeded, Unknown
from agent.effects.sql import SqlEffect, SqlPlan
from tests.harness.waiting import eventually
from tests.unit.agent.conftest import Databases
from wakestream import marks
from wakestream.errors import TransientError
from wakestream.events import Cause

KEY = b"k" * 32
MOVE = "update booking set flight_id = :to where id = :id"
Record = Callable[[dict[str, Any]], None]


def nothing(_: dict[str, Any]) -> None:
    """An intent that is not looked at."""


@pytest.fixture
def ops(databases: Databases) -> Generator[psycopg.Connection[Any]]:
    with psycopg.connect(databases.ops, autocommit=True) as connection:
        connection.execute("truncate booking")
        connection.execute("insert into booking (id, flight_id) values (42, 7)")
        yield connection


@pytest.fixture
def effect(databases: Databases) -> SqlEffect:
    return SqlEffect({"ops": databases.ops}, KEY, lambda _: False)


def pending(statement: str = MOVE, values: dict[str, Any] | None = None, **plan: Any) -> Pending:
    given = {"to": 8, "id": 42} if values is None else values
    effect = SqlPlan(
        **{"connection": "ops", "statement": statement, "values": given, "text": "", "timeout_s": 1.0, **plan}
    )
    return Pending("a/1", "move", msgspec.structs.asdict(effect), Cause("a/1", "a", "t", ("booking/42",), 1), None)


def flight(ops: psycopg.Connection[Any]) -> int:
    row = ops.execute("select flight_id from booking where id = 42").fetchone()
    assert row
    return row[0]


def test_the_intent_is_recorded_before_the_commit(effect: SqlEffect, ops: psycopg.Connection[Any]) -> None:
    seen: list[tuple[dict[str, Any], int, str]] = []

    def record(intent: dict[str, Any]) -> None:
        row = ops.execute("select pg_xact_status(%s::xid8)", (intent["xid"],)).fetchone()
        assert row
        seen.append((intent, flight(ops), row[0]))

    outcome = effect.execute(pending(rows=1), record)
    ((intent, before, status),) = seen
    assert (before, status) == (7, "in progress")
    assert intent["system_identifier"]
    assert intent["timeline"] == 1
    assert isinstance(outcome, Succeeded)
    committed = datetime.fromisoformat(outcome.result.pop("committed_by"))
    assert outcome == Succeeded({"rows": 1, "xid": intent["xid"]})
    assert committed > datetime.fromisoformat(intent["began_at"])
    assert intent["database"] == "ops"
    assert flight(ops) == 8


def test_whoever_is_frozen_in_its_transaction_holds_nothing_for_long(
    effect: SqlEffect, ops: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends it, nothing has happened, and the action is tried again."""
    monkeypatch.setattr(sql, "IDLE_TIMEOUT", 0.1)
    listed = "select not exists (select from pg_stat_activity where pid = %s)"

    def frozen(intent: dict[str, Any]) -> None:
        eventually(lambda: (ops.execute(listed, (intent["pid"],)).fetchone() or [False])[0], "the backend's end")

    assert isinstance(effect.execute(pending(), frozen), Again)
    assert flight(ops) == 7
    assert isinstance(effect.execute(pending(), nothing), Succeeded)


def test_the_mark_is_signed_for_the_transaction(
    effect: SqlEffect, ops: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[tuple[str, int]] = []
    sign = marks.sign_mark

    def spy(key: bytes, cause: Cause, xid: int) -> str:
        signed.append((sign(key, cause, xid), xid))
        return signed[-1][0]

    monkeypatch.setattr(marks, "sign_mark", spy)
    intents: list[dict[str, Any]] = []
    effect.execute(pending(), intents.append)
    ((mark, xid),) = signed
    assert str(xid) == intents[0]["xid"]
    assert marks.verify(KEY, mark.encode(), txid=xid, time_s=0) == (pending().cause, True)


@pytest.mark.parametrize(("rows", "identity", "touched"), [(1, 41, 0), (0, 42, 1), (2, 42, 1)])
def test_other_rows_than_expected_are_rolled_back(
    effect: SqlEffect, ops: psycopg.Connection[Any], rows: int, identity: int, touched: int
) -> None:
    outcome = effect.execute(pending(values={"to": 8, "id": identity}, rows=rows), nothing)
    assert isinstance(outcome, Failed)
    expected = "1 row" if rows == 1 else f"{rows} rows"
    assert outcome.reason == f"expected {expected}, statement touches {touched}; it was rolled back"
    assert flight(ops) == 7


@pytest.mark.parametrize(
    ("column", "value", "array", "stored"),
    [
        ("note", None, False, None),
        ("note", "it's \\ 100% :x", False, "it's \\ 100% :x"),
        ("note", 7, False, "7"),
        ("fare", 1.5, False, "1.5"),
        ("ok", True, False, "true"),
        ("at", "2026-11-22T11:53:11.769+00:00", False, "2026-11-22 11:53:11.769+00"),
        ("js", {"a": [1, "x"]}, False, '{"a": [1, "x"]}'),
        ("js", [1, 2], False, "[1, 2]"),
        ("crew", ['a"b', "c,d", None, "e\\f"], True, '{"a\\"b","c,d",NULL,"e\\\\f"}'),
        ("numbers", [1, 2], True, "{1,2}"),
    ],
)
def test_values_of_every_kind(  # noqa: PLR0913
    effect: SqlEffect, ops: psycopg.Connection[Any], column: str, value: Any, array: bool, stored: str | None
) -> None:
    statement = f"update booking set {column} = :v where id = 42"
    outcome = effect.execute(pending(statement, {"v": value}, arrays=["v"] if array else []), nothing)
    assert isinstance(outcome, Succeeded), outcome
    ops.execute("set timezone = 'UTC'")
    row = ops.execute(f"select {column}::text from booking").fetchone()
    assert row == (stored,)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("update booking set nothing = :to where id = :id", 'column "nothing"'),
        ("insert into booking (id, flight_id) values (:id, :to)", "duplicate key"),
        ("update booking set at = :to where id = :id", "invalid input syntax"),
        ("updat booking set flight_id = :to where id = :id", "syntax error"),
    ],
)
def test_errors_of_the_statement_fail(
    effect: SqlEffect, ops: psycopg.Connection[Any], statement: str, reason: str
) -> None:
    outcome = effect.execute(pending(statement), nothing)
    assert isinstance(outcome, Failed)
    assert reason in outcome.reason
    assert flight(ops) == 7


def test_locks_and_time_are_tried_again(effect: SqlEffect, ops: psycopg.Connection[Any], databases: Databases) -> None:
    with psycopg.connect(databases.ops) as other:
        other.execute("update booking set note = 'x'")
        outcome = effect.execute(pending(timeout_s=0.05), nothing)
    assert isinstance(outcome, Again)
    assert "timeout" in outcome.reason
    slow = effect.execute(pending("select pg_sleep(9), :to, :id", timeout_s=0.05), nothing)
    assert isinstance(slow, Again)
    assert "statement timeout" in slow.reason


def test_in_a_deadlock_it_is_we_who_give_way(
    effect: SqlEffect, ops: psycopg.Connection[Any], databases: Databases
) -> None:
    """The other session waits first, so that it would be the one to look for a deadlock, and to be ended."""
    ops.execute("insert into booking (id, flight_id) values (43, 7)")
    ops.execute(
        "create or replace function touch_both() returns int language plpgsql as $$ begin"
        " update booking set note = 'ours' where id = 43; perform pg_advisory_xact_lock(1);"
        " update booking set note = 'ours' where id = 42; return 1; end $$"
    )
    with psycopg.connect(databases.ops) as other, psycopg.connect(databases.ops, autocommit=True) as gate:
        other.execute("update booking set note = 'theirs' where id = 42")
        gate.execute("select pg_advisory_lock(1)")
        with ThreadPoolExecutor() as threads:
            ours = threads.submit(effect.execute, pending("select touch_both(), :to, :id", timeout_s=10.0), nothing)
            _until_waiting(ops, "select touch_both()%")
            theirs = threads.submit(other.execute, "update booking set note = 'theirs' where id = 43")
            _until_waiting(ops, "update booking%")
            gate.execute("select pg_advisory_unlock(1)")
            theirs.result()
            assert isinstance(ours.result(), Again)
    assert ops.execute("select distinct note from booking").fetchall() == [("theirs",)]


def _until_waiting(ops: psycopg.Connection[Any], statement: str) -> None:
    """Until the session that executes this waits for a lock, or has given up already."""
    query = "select from pg_stat_activity where query like %s and (state <> 'active' or wait_event_type = 'Lock')"
    eventually(lambda: ops.execute(query, (statement,)).rowcount > 0, f"a session that waits in {statement}")


def test_a_database_that_is_away_is_tried_again() -> None:
    effect = SqlEffect({"ops": "postgresql://nobody@127.0.0.1:1/x"}, KEY, lambda _: False)
    assert isinstance(effect.execute(pending(), nothing), Again)


def test_a_connection_that_is_gone_from_the_configuration() -> None:
    effect = SqlEffect({}, KEY, lambda _: False)
    assert isinstance(effect.execute(pending(), nothing), Failed)
    with_intent = msgspec.structs.asdict(sql.SqlIntent("1", 1, "", None, None))
    interrupted = _with(pending(), with_intent)
    assert isinstance(effect.settle(interrupted, nothing), Unknown)


def test_deferred_constraints_fail_on_commit(effect: SqlEffect, ops: psycopg.Connection[Any]) -> None:
    ops.execute("create table child (id int references booking deferrable initially deferred)")
    try:
        outcome = effect.execute(pending("insert into child values (:to::int + :id::int)"), nothing)
        assert isinstance(outcome, Failed)
        assert "foreign key" in outcome.reason
    finally:
        ops.execute("drop table child")


def _with(action: Pending, intent: dict[str, Any]) -> Pending:
    return Pending(action.id, action.name, action.effect, action.cause, intent)


def _intent(effect: SqlEffect, action: Pending, *, then: Exception | None = None) -> dict[str, Any]:
    """The intent of an execution, which ends right after it was recorded if `then` is given."""
    intents: list[dict[str, Any]] = []

    def record(intent: dict[str, Any]) -> None:
        intents.append(intent)
        if then is not None:
            raise then

    if then is None:
        effect.execute(action, record)
    else:
        with pytest.raises(type(then)):
            effect.execute(action, record)
    return intents[0]


def test_settling_a_committed_one(effect: SqlEffect, ops: psycopg.Connection[Any]) -> None:
    intent = _intent(effect, pending())
    ops.execute("update booking set flight_id = 99")
    outcome = effect.settle(_with(pending(), intent), nothing)
    assert outcome == Succeeded({"rows": None, "xid": intent["xid"], "settled": "by its transaction's status"})
    assert flight(ops) == 99, "it is not done twice"


def test_settling_an_aborted_one_does_it(effect: SqlEffect, ops: psycopg.Connection[Any]) -> None:
    intent = _intent(effect, pending(), then=TransientError("the worker dies here"))
    again: list[dict[str, Any]] = []
    outcome = effect.settle(_with(pending(), intent), again.append)
    assert isinstance(outcome, Succeeded)
    assert again[0]["xid"] != intent["xid"]
    assert flight(ops) == 8


def test_one_in_progress_is_ended_not_overtaken(
    effect: SqlEffect, ops: psycopg.Connection[Any], databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "PATIENCE", 0.2)
    with psycopg.connect(databases.ops) as stuck:
        intent = msgspec.structs.asdict(sql._begin(stuck, msgspec.convert(pending(timeout_s=60.0).effect, SqlPlan)))
        stuck.execute("update booking set flight_id = 1")
        outcome = effect.settle(_with(pending(), intent), nothing)
        assert isinstance(outcome, Succeeded)
        with pytest.raises(psycopg.OperationalError):
            stuck.execute("select 1")
    assert flight(ops) == 8


def test_one_in_progress_is_waited_for(effect: SqlEffect, ops: psycopg.Connection[Any], databases: Databases) -> None:
    with psycopg.connect(databases.ops) as slow:
        intent = msgspec.structs.asdict(sql._begin(slow, msgspec.convert(pending(timeout_s=60.0).effect, SqlPlan)))
        slow.execute("update booking set flight_id = 5")
        commit = threading.Timer(0.2, slow.commit)
        commit.start()
        outcome = effect.settle(_with(pending(), intent), nothing)
        commit.join()
    assert isinstance(outcome, Succeeded)
    assert flight(ops) == 5


@pytest.mark.parametrize(
    "other", [{"timeline": 2}, {"system_identifier": "1"}, {"system_identifier": None, "timeline": None}]
)
def test_where_the_server_cannot_tell_the_receipt_does(
    effect: SqlEffect, ops: psycopg.Connection[Any], databases: Databases, other: dict[str, Any]
) -> None:
    intent = {**_intent(effect, pending()), **other}
    assert isinstance(effect.settle(_with(pending(), intent), nothing), Unknown)
    seen = SqlEffect({"ops": databases.ops}, KEY, lambda action: action == "a/1")
    assert seen.settle(_with(pending(), intent), nothing) == Succeeded({"settled": "by its mark in the change log"})


def test_a_transaction_of_the_future_is_unknown(effect: SqlEffect, ops: psycopg.Connection[Any]) -> None:
    intent = {**_intent(effect, pending()), "xid": str(2**40)}
    assert isinstance(effect.settle(_with(pending(), intent), nothing), Unknown)


def test_settling_waits_for_a_database_that_is_away(effect: SqlEffect, ops: psycopg.Connection[Any]) -> None:
    intent = _intent(effect, pending())
    away = SqlEffect({"ops": "postgresql://nobody@127.0.0.1:1/x"}, KEY, lambda _: False)
    with pytest.raises(TransientError):
        away.settle(_with(pending(), intent), nothing)


def test_a_connection_lost_on_commit_is_settled(
    effect: SqlEffect, ops: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = psycopg.Connection.commit

    def lost(self: psycopg.Connection[Any]) -> None:
        commit(self)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Connection, "commit", lost)
    outcome = effect.execute(pending(), nothing)
    assert isinstance(outcome, Succeeded)
    assert outcome.result["settled"] == "by its transaction's status"


def test_rendering_is_for_people() -> None:
    text = sql.render("update t set a = :a, b = '50%' where c = :c", {"a": "it's", "c": None})
    assert text == "update t set a = 'it''s', b = '50%' where c = NULL"
