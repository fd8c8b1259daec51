"""A connection to the ledger whose statements travel together.

psycopg sends each statement of a pipeline by itself, and each wakes the server. Statements that are asked here wait
until somebody needs an answer, and then leave together, with the BEGIN or COMMIT that belongs to them. psycopg's own
calls may stand between: each first has what was asked before it answered, so that all happens in the order in which it
is written.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import generators, pq
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer

TOGETHER = 200  # statements that wait at most, and their parameters with them

_Key = tuple[bytes, tuple[int, ...]]
"""A statement and the types of its parameters."""

_DONE = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class Answer:
    """What the ledger says to one statement; read as a cursor is."""

    __slots__ = ("_connection", "_result", "_rows", "formats", "key", "values")

    def __init__(self, connection: Connection, key: _Key, values: Sequence[Any], formats: Sequence[pq.Format]) -> None:
        self._connection = connection
        self._result: pq.abc.PGresult | None = None
        self._rows: Iterator[tuple[Any, ...]] | None = None
        self.key = key
        self.values = values
        self.formats = formats

    def fetchall(self) -> list[tuple[Any, ...]]:
        """The rows that are left; waits for them.

        Raises psycopg's error of the first statement that failed since the last look at an answer, which may stand
        before this one, and whose transaction is then to be rolled back.
        """
        return self._load() if self._rows is None else list(self._rows)

    def fetchone(self) -> tuple[Any, ...] | None:
        """The next row, if any is left; waits and raises as `fetchall` does."""
        return next(iter(self), None)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The rows that are left."""
        if self._rows is None:
            self._rows = iter(self._load())
        return self._rows

    def _load(self) -> list[tuple[Any, ...]]:
        if self._result is None:
            self._connection.settle()
        if self._result is None:
            raise psycopg.InterfaceError("the statement was rolled back before it was answered")
        transformer = Transformer(self._connection)
        transformer.set_pgresult(self._result)
        return transformer.load_rows(0, self._result.ntuples, tuple)

    def take(self, result: pq.abc.PGresult) -> None:
        """It has come."""
        self._result = result


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """psycopg's connection, which can also be asked. Not for use inside `pipeline()`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._asked: list[Answer] = []
        """Not sent yet."""
        self._sent: deque[list[Answer | _Key]] = deque()
        """What each packet on its way holds: statements, and those that it prepares."""
        self._names: dict[_Key, bytes] = {}
        """Of the statements that the server has prepared for us, or is about to."""
        self._numbers = itertools.count()

    def ask(self, query: str | bytes, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> Answer:
        """Execute a statement, with parameters as psycopg has them, when the next answer is needed. It stays prepared.

        Raises `psycopg.DataError` for a parameter that PostgreSQL cannot hold.
        """
        numbered, names = _numbered(query)
        given = [parameters[name] for name in names] if isinstance(parameters, Mapping) else parameters
        transformer = Transformer(self)
        values = transformer.dump_sequence(given, [PyFormat.AUTO] * len(given))
        answer = Answer(self, (numbered, transformer.types or ()), values, transformer.formats or ())
        self._asked.append(answer)
        if len(self._asked) >= TOGETHER:
            self.send()
        return answer

    def send(self) -> None:
        """Put what was asked on its way; the answers are waited for where they are needed."""
        if not self._asked:
            return
        if not (self._sent or self.autocommit) and self.pgconn.transaction_status == pq.TransactionStatus.IDLE:
            self._asked.insert(0, Answer(self, (b"begin", ()), (), ()))
        with self.lock:
            self._pack()
            if self.pgconn.flush():
                self.wait(generators.send(self.pgconn))

    def settle(self) -> None:
        """Have everything that was asked answered. Raises psycopg's error of the first statement that failed."""
        self.send()
        while self._sent:
            with self.lock:
                failure = self.wait(self._take_gen(self._sent.popleft()))
            if failure is not None:
                raise failure

    def cursor(self, *args: Any, **options: Any) -> Any:
        """psycopg's, behind everything that was asked; so is `execute`."""
        self.settle()
        return super().cursor(*args, **options)

    @contextlib.contextmanager
    def transaction(self, *args: Any, **options: Any) -> Generator[psycopg.Transaction]:
        """psycopg's, around what is asked inside."""
        self.settle()
        with super().transaction(*args, **options) as transaction:
            try:
                yield transaction
                self.settle()
            except BaseException:
                self._forget()
                raise

    @contextlib.contextmanager
    def pipeline(self) -> Generator[psycopg.Pipeline]:
        """psycopg's, behind everything that was asked."""
        self.settle()
        with super().pipeline() as pipeline:
            yield pipeline

    def commit(self) -> None:
        """psycopg's; travels with what was asked before it."""
        if not self._asked:
            self.settle()
            super().commit()
            return
        self.ask(b"commit")
        self.settle()

    def rollback(self) -> None:
        """psycopg's; what was asked and not sent never is."""
        self._forget()
        super().rollback()

    def _forget(self) -> None:
        """Nobody waits for these answers any more."""
        self._asked.clear()
        while self._sent:
            with self.lock, contextlib.suppress(psycopg.Error):
                self.wait(self._take_gen(self._sent.popleft()))

    def _pack(self) -> None:
        packet: list[Answer | _Key] = []
        answers, self._asked = self._asked, []
        if self.pgconn.pipeline_status == pq.PipelineStatus.OFF:
            self.pgconn.enter_pipeline_mode()
        elif not self._sent:
            raise psycopg.ProgrammingError("nothing may be asked inside a pipeline")
        for answer in answers:
            if answer.key not in self._names:
                self._names[answer.key] = f"wake_{next(self._numbers)}".encode()
                self.pgconn.send_prepare(self._names[answer.key], *answer.key)
                packet.append(answer.key)
            self.pgconn.send_query_prepared(self._names[answer.key], answer.values, answer.formats)
            answer.values = ()  # which may be large, and are sent
            packet.append(answer)
        self.pgconn.pipeline_sync()
        self._sent.append(packet)

    def _take_gen(self, packet: list[Answer | _Key]) -> PQGen[psycopg.Error | None]:
        """The answers of a packet; returns the error of the first statement that failed."""
        failure: psycopg.Error | None = None
        for step in packet:
            try:
                results = yield from generators.fetch_many(self.pgconn)
            except psycopg.OperationalError as lost:
                return failure or lost
            if not results:
                return failure or psycopg.OperationalError("the connection is lost")
            if results[0].status not in _DONE:
                if isinstance(step, tuple):
                    self._names.pop(step, None)
                if failure is None:  # those behind it are only said to be aborted
                    failure = psycopg.errors.error_from_result(results[0], self.info.encoding)
            elif isinstance(step, Answer):
                step.take(results[0])
        yield from generators.fetch_many(self.pgconn)  # the packet's end
        if not self._sent:
            self.pgconn.exit_pipeline_mode()
        return failure

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        """Forget ours too where psycopg drops every prepared statement, as it does after a rollback."""
        if name is None:
            self._names.clear()
        return super()._deallocate(name)


@lru_cache(maxsize=1000)
def _numbered(query: str | bytes) -> tuple[bytes, tuple[str, ...]]:
    """A statement with `$1` for its first parameter, as the server wants it, and the names that stand for them."""
    names: dict[str, int] = {}
    numbers = itertools.count(1)

    def number(found: re.Match[bytes]) -> bytes:
        if found[0] == b"%%":
            return b"%"
        if found[1] is None:
            return b"$%d" % next(numbers)
        return b"$%d" % names.setdefault(found[1].decode(), len(names) + 1)

    text = query if isinstance(query, bytes) else query.encode()
    return re.sub(rb"%(?:%|s|\((\w+)\)s)", number, text), tuple(names)
