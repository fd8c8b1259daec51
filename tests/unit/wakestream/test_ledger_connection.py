"""Statements that travel together: in their order, in one transaction, and with the first error told."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import hypothesis
import hypothesis.strategies as st
import psycopg
import pytest

from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream.ledger import Connection
from wakestream.ledger.connection import TOGETHER

__all__ = ["make_database", "source_server"]

DDL = "create table t (a int primary key, note text); create table late (a int unique deferrable initially deferred)"


@pytest.fixture
def url(make_database: MakeDatabase) -> str:
    return make_database(DDL)


@pytest.fixture
def connection(url: str) -> Generator[Connection]:
    connection = Connection.connect(url, prepare_threshold=1)
    yield connection
    connection.close()


def stored(url: str) -> list[int]:
    with psycopg.connect(url) as other:
        return [a for (a,) in other.execute("select a from t order by a")]


def insert(connection: Connection, a: int) -> Any:
    return connection.ask("insert into t (a) values (%s) returning a", (a,))


def test_nothing_is_sent_before_an_answer_is_needed(connection: Connection) -> None:
    first, second = insert(connection, 1), insert(connection, 2)
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert second.fetchall() == [(2,)]
    assert first.fetchall() == [(1,)]
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS


def test_what_was_sent_is_answered_later(connection: Connection) -> None:
    answers = []
    for a in range(5):
        answers.append(insert(connection, a))
        connection.send()
    assert [answer.fetchone() for answer in answers] == [(a,) for a in range(5)]


def test_many_do_not_all_wait(connection: Connection, url: str) -> None:
    """They would wait in memory, with their parameters."""
    for a in range(TOGETHER):
        insert(connection, a)
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE
    insert(connection, TOGETHER)
    connection.commit()
    assert stored(url) == list(range(TOGETHER + 1))


def test_an_answer_is_read_as_a_cursor_is(connection: Connection) -> None:
    answer = connection.ask("select n, n::text from generate_series(1, 4) n")
    assert answer.fetchone() == (1, "1")
    assert next(iter(answer)) == (2, "2")
    assert answer.fetchall() == [(3, "3"), (4, "4")]
    assert answer.fetchone() is None
    assert connection.ask("select where false").fetchone() is None
    assert connection.ask("create temp table nothing ()").fetchall() == []


@pytest.mark.parametrize(
    ("query", "parameters", "row"),
    [
        ("select %s::int, %s", (1, "x"), (1, "x")),
        ("select %(b)s::int, %(a)s, %(b)s", {"a": "x", "b": 2}, (2, "x", 2)),
        ("select 7 %% 4, %s", (None,), (3, None)),
        (b"select '%%s', '$1'", (), ("%s", "$1")),
        ("select %s::int8[], %s::jsonb", ([1, None], '{"a": 1}'), ([1, None], {"a": 1})),
    ],
)
def test_parameters_are_psycopgs(connection: Connection, query: Any, parameters: Any, row: tuple[Any, ...]) -> None:
    assert connection.ask(query, parameters).fetchone() == row
    assert connection.execute(query, parameters).fetchone() == row


def test_a_parameter_that_cannot_be_is_refused_alone(connection: Connection) -> None:
    kept = insert(connection, 1)
    with pytest.raises(psycopg.DataError):
        connection.ask("select %s", ("nul \x00",))
    assert kept.fetchall() == [(1,)]


def test_psycopgs_statements_come_in_their_order(connection: Connection, url: str) -> None:
    insert(connection, 1)
    assert connection.execute("select count(*) from t").fetchone() == (1,)
    insert(connection, 2)
    with connection.cursor() as cursor:
        assert cursor.execute("select count(*) from t").fetchone() == (2,)
    insert(connection, 3)
    with connection.pipeline():
        assert connection.execute("select count(*) from t").fetchone() == (3,)
    connection.commit()
    assert stored(url) == [1, 2, 3]


def test_nothing_may_be_asked_inside_a_pipeline(connection: Connection) -> None:
    with connection.pipeline():
        connection.execute("select 1")
        insert(connection, 1)
        with pytest.raises(psycopg.ProgrammingError, match="inside a pipeline"):
            connection.send()


def test_a_commit_travels_with_what_was_asked(connection: Connection, url: str) -> None:
    answer = insert(connection, 1)
    connection.commit()
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert stored(url) == [1]
    assert answer.fetchall() == [(1,)]
    connection.commit()


def test_what_fails_on_commit_is_told(connection: Connection) -> None:
    for _ in range(2):
        connection.ask("insert into late values (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.commit()
    connection.rollback()
    assert connection.ask("select count(*) from late").fetchone() == (0,)


def test_the_first_error_is_told_and_nothing_after_it_is_done(connection: Connection, url: str) -> None:
    insert(connection, 1)
    connection.commit()
    before, wrong, after = insert(connection, 2), insert(connection, 1), insert(connection, 3)
    with pytest.raises(psycopg.errors.UniqueViolation):
        after.fetchall()
    assert before.fetchall() == [(2,)]  # which was true then
    connection.rollback()
    for answer in (wrong, after):
        with pytest.raises(psycopg.InterfaceError):
            answer.fetchall()
    assert stored(url) == [1]


def test_an_error_among_several_packets(connection: Connection, url: str) -> None:
    insert(connection, 1)
    for a in (1, 2, 3):
        connection.send()
        insert(connection, a)
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.settle()
    connection.rollback()
    assert insert(connection, 4).fetchall() == [(4,)]
    connection.commit()
    assert stored(url) == [4]


def test_what_was_not_sent_is_rolled_back_too(connection: Connection, url: str) -> None:
    insert(connection, 1)
    connection.send()
    answer = insert(connection, 2)
    connection.rollback()
    with pytest.raises(psycopg.InterfaceError):
        answer.fetchall()
    insert(connection, 3)
    connection.commit()
    assert stored(url) == [3]


def test_a_statement_that_could_not_be_prepared_is_prepared_later(connection: Connection) -> None:
    for _ in range(2):
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.ask("select count(*) from missing").fetchall()
        connection.rollback()
    connection.ask("create table missing ()")
    assert connection.ask("select count(*) from missing").fetchall() == [(0,)]


def test_prepared_statements_outlive_savepoints_and_rollbacks(connection: Connection, url: str) -> None:
    for _ in range(3):  # psycopg has statements of its own, and drops them all
        connection.execute("select 1")
    insert(connection, 1)
    with pytest.raises(psycopg.errors.UniqueViolation), connection.transaction():
        insert(connection, 2)
        insert(connection, 1)
    assert insert(connection, 3).fetchall() == [(3,)]
    connection.execute("savepoint before")
    insert(connection, 4)
    connection.execute("rollback to savepoint before")
    insert(connection, 5)
    connection.commit()
    assert stored(url) == [1, 3, 5]


def test_what_a_block_asks_is_done_in_it(connection: Connection, url: str) -> None:
    with connection.transaction():
        insert(connection, 1)
    assert stored(url) == [1]


def test_each_packet_is_a_transaction_in_autocommit(url: str) -> None:
    with Connection.connect(url, autocommit=True) as connection:
        assert insert(connection, 1).fetchall() == [(1,)]
        assert stored(url) == [1]
        insert(connection, 2)
        insert(connection, 2)
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.settle()
        assert stored(url) == [1]


def test_what_is_large_in_both_directions_does_not_stand_still(connection: Connection) -> None:
    large = "x" * 3_000_000
    answers = [connection.ask("select %s::text", (large,)) for _ in range(10)]
    assert all(answer.fetchone() == (large,) for answer in answers)


def test_a_lost_session_is_an_error_at_once(connection: Connection, url: str) -> None:
    insert(connection, 1)
    connection.settle()
    _end(url, connection.info.backend_pid)
    answer = insert(connection, 2)
    with pytest.raises(psycopg.OperationalError):
        answer.fetchall()
    with pytest.raises(psycopg.OperationalError):
        connection.rollback()
    assert connection.broken
    assert stored(url) == []


def test_a_session_that_is_lost_while_it_answers(connection: Connection, url: str) -> None:
    insert(connection, 1)
    with psycopg.connect(url) as other:
        other.execute("lock table late")
        waiting = connection.ask("select count(*) from late")
        connection.send()
        ender = threading.Thread(target=_end, args=(url, connection.info.backend_pid))
        ender.start()
        with pytest.raises(psycopg.OperationalError):
            waiting.fetchall()
        ender.join()
    assert stored(url) == []


def _end(url: str, backend: int) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        assert other.execute("select pg_terminate_backend(%s, 5000)", (backend,)).fetchone() == (True,)


KEYS = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(st.just("ask"), KEYS),
    st.tuples(st.just("ask"), KEYS),
    st.tuples(st.just("execute"), KEYS),
    st.tuples(st.just("block"), st.lists(KEYS, max_size=3)),
    st.sampled_from([("send", 0), ("settle", 0), ("commit", 0), ("rollback", 0)]),
)


@hypothesis.given(st.lists(STEPS, max_size=14))
@hypothesis.settings(max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_as_if_each_had_been_executed_alone(url: str, steps: list[tuple[str, Any]]) -> None:
    """The same table as psycopg leaves; whoever meets an error rolls back."""
    with psycopg.connect(url, autocommit=True) as cleaner:
        cleaner.execute("truncate t")
        with Connection.connect(url) as asking:
            for step, what in steps:
                try:
                    _do(asking, step, what)
                except psycopg.Error:
                    asking.rollback()
            try:
                asking.commit()
            except psycopg.Error:
                asking.rollback()
        found = stored(url)
        cleaner.execute("truncate t")
        _plainly(url, steps)
        assert found == stored(url)


def _do(connection: Connection, step: str, what: Any) -> None:
    match step:
        case "ask":
            insert(connection, what)
        case "execute":
            connection.execute("insert into t (a) values (%s)", (what,))
        case "block":
            connection.settle()
            with connection.transaction():
                for a in what:
                    insert(connection, a)
        case _:
            getattr(connection, step)()


def _plainly(url: str, steps: list[tuple[str, Any]]) -> None:
    """The same with psycopg, where what was asked fails at once and is noticed with the next look."""
    failed = False
    with psycopg.connect(url) as plain:
        for step, what in [*steps, ("commit", 0)]:
            if step == "send" or (step == "ask" and failed):
                continue
            if failed and step != "ask":
                plain.rollback()
                failed = False
                continue
            try:
                match step:
                    case "ask" | "execute":
                        plain.execute("insert into t (a) values (%s)", (what,))
                    case "block":
                        with plain.transaction():
                            for a in what:
                                plain.execute("insert into t (a) values (%s)", (a,))
                    case "commit" | "rollback":
                        getattr(plain, step)()
                    case _:
                        pass
            except psycopg.Error:
                if step == "ask":
                    failed = True
                else:
                    plain.rollback()
