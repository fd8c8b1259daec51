"""Random transactions over three tables, told to the oracle's model as they are made."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

from psycopg import sql

from tests.harness import values
from tests.harness.context import exact
from tests.harness.oracle import Image, Key, Model, TableShape, Transaction
from tests.harness.source import AttachedSource, Connection
from tests.harness.values import COLUMNS, INITIAL, SHAPES, Value
from wakestream import marks
from wakestream.events import Cause

Row = dict[str, Value]

_STATEMENTS: tuple[tuple[str, int], ...] = (
    ("insert", 20),
    ("insert_or_update", 4),
    ("copy", 4),
    ("update", 30),
    ("update_same", 3),
    ("update_again", 6),
    ("delete", 10),
    ("delete_and_insert", 3),
    ("change_key", 8),
    ("message", 3),
    ("savepoint", 6),
)


class Workload:
    """Makes transactions, one after another or two at once, the same ones for the same seed."""

    def __init__(self, source: AttachedSource, model: Model, mark_key: bytes, seed: int) -> None:
        self._random = random.Random(seed)
        self._connections = (source.connect(), source.connect())
        self._model = model
        self._mark_key = mark_key
        self.actions: list[str] = []
        """The actions of the true marks that were committed."""
        self.forged = 0
        self.done = 0
        """Transactions begun and ended, rolled back ones included."""

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def fill(self) -> None:
        """The rows that are there before anything is captured."""
        work = _Work(self._random, self._connections[0], self._model.begin(), set())
        for label, count in INITIAL.items():
            work.insert(label, count)
        work.transaction.commit(0, 0.0, 0.0)
        self._model.committed.clear()

    def step(self) -> None:
        """One transaction, or two whose statements alternate."""
        if self._random.random() < 0.02:
            self._drain([self._truncating(self._connections[0])])
        elif self._random.random() < 0.3:
            taken: set[tuple[str, Key]] = set()
            self._drain([self._transaction(connection, taken) for connection in self._connections])
        else:
            self._drain([self._transaction(self._connections[0], set())])

    def _drain(self, running: list[Iterator[None]]) -> None:
        while running:
            each = self._random.choice(running)
            if next(each, self) is self:
                running.remove(each)
                self.done += 1

    def _transaction(self, connection: Connection, taken: set[tuple[str, Key]]) -> Iterator[None]:
        """Statement by statement; rows that it has touched are `taken` until both transactions have ended."""
        work = _Work(self._random, connection, self._model.begin(), taken)
        began = time.time()
        connection.execute("begin")
        for _ in range(self._random.randint(1, 6)):
            self._statement(work)
            yield
        self._end(work, began)

    def _truncating(self, connection: Connection) -> Iterator[None]:
        work = _Work(self._random, connection, self._model.begin(), set())
        began = time.time()
        connection.execute("begin")
        for _ in range(self._random.randint(0, 2)):
            self._statement(work)
        work.truncate(self._random.sample(sorted(SHAPES), self._random.choice((1, 1, 2))))
        for label, count in INITIAL.items():
            work.insert(label, self._random.randint(0, count // 4))
        yield
        self._end(work, began)

    def _end(self, work: _Work, began: float) -> None:
        connection = work.connection
        if self._random.random() < 0.1:
            connection.execute("rollback")
            return
        row = connection.execute("select pg_current_xact_id()::text::bigint % (2 ^ 32)::bigint").fetchone()
        assert row is not None
        connection.execute("commit")
        work.transaction.commit(int(row[0]), began, time.time())
        self.actions += work.actions
        self.forged += work.forged

    def _statement(self, work: _Work) -> None:
        names, weights = zip(*_STATEMENTS, strict=True)
        name = self._random.choices(names, weights)[0]
        if name == "savepoint":
            self._savepoint(work)
        elif name == "message":
            self._message(work)
        else:
            label = self._random.choices(list(SHAPES), (3, 3, 2))[0]
            cast("Callable[[str, int], None]", getattr(work, name))(label, self._random.choice((1, 1, 1, 2, 5)))

    def _savepoint(self, work: _Work) -> None:
        kept = work.transaction.savepoint()
        work.connection.execute("savepoint here")
        label = self._random.choice(list(SHAPES))
        work.update(label, 2)
        work.change_key(label, 1)
        work.insert(label, 1)
        if self._random.random() < 0.5:
            work.connection.execute("rollback to savepoint here")
            work.transaction.rollback_to(kept)
        else:
            work.connection.execute("release savepoint here")

    def _message(self, work: _Work) -> None:
        """A mark of ours, or one that only looks like it."""
        row = work.connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
        assert row is not None
        xid, action = int(row[0]), f"action-{self._random.getrandbits(64):016x}"
        cause = Cause(action, "run", "trigger", ("public.flight/1",), 1)
        true = self._random.random() < 0.7
        content = marks.sign_mark(self._mark_key, cause, xid if true else xid + 1)
        work.connection.execute("select pg_logical_emit_message(true, 'wake', %s::text)", (content,))
        # PostgreSQL takes a message's end for its place in the log. That is where the next record starts, so that a
        # change which follows in another subtransaction may be decoded before it; something has to lie between.
        work.connection.execute("select pg_logical_emit_message(true, 'spacer', '')")
        work.transaction.message(cause if true else None)
        if true:
            work.actions.append(action)
        else:
            work.forged += 1


class _Work:
    """The statements of one transaction, each told to the model."""

    def __init__(
        self, rng: random.Random, connection: Connection, transaction: Transaction, taken: set[tuple[str, Key]]
    ) -> None:
        self._random = rng
        self.connection = connection
        self.transaction = transaction
        self.actions: list[str] = []
        self.forged = 0
        self._taken = taken
        self._mine: set[tuple[str, Key]] = set()

    def insert(self, label: str, count: int) -> None:
        """Several rows in one statement."""
        self._insert(label, [row for _ in range(count) if (row := self._new_row(label)) is not None])

    def insert_or_update(self, label: str, count: int) -> None:
        for image in self._pick(label, count):
            row = {**values.random_row(self._random, label), **self._key_of(label, image)}
            names = _names(row)
            query = sql.SQL(
                "insert into {table} ({names}) values ({values}) on conflict ({key}) do update set {assigned}"
                " returning to_jsonb(new.*)::text"
            ).format(
                table=_table(label),
                names=names,
                values=_placeholders(row),
                key=sql.SQL(", ").join(sql.Identifier(name) for name in SHAPES[label].key),
                assigned=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(n)) for n in row),
            )
            for (after,) in self.connection.execute(query, list(row.values())).fetchall():
                self.transaction.update(label, SHAPES[label].key_of(image), exact(after), row)

    def copy(self, label: str, count: int) -> None:
        """COPY writes the rows in their order; what they became is read afterwards."""
        rows = [row for _ in range(4 * count) if (row := self._new_row(label)) is not None]
        if not rows:
            return
        names = _names(rows[0])
        with self.connection.cursor().copy(sql.SQL("copy {} ({}) from stdin").format(_table(label), names)) as copy:
            for row in rows:
                copy.write_row(list(row.values()))
        for image in self._read(label, rows):
            self.transaction.insert(label, image)

    def update(self, label: str, count: int) -> None:
        """Some columns of several rows, in one statement."""
        self._update(label, self._pick(label, count), values.some_columns(self._random, label))

    def update_same(self, label: str, count: int) -> None:
        """A statement that writes rows anew as they are."""
        column = sql.Identifier(COLUMNS[label][-1].name)
        self._update_where(label, self._pick(label, count), sql.SQL("{0} = {0}").format(column), {})

    def update_again(self, label: str, count: int) -> None:
        """Several versions of the same rows."""
        images = self._pick(label, count)
        for _ in range(self._random.randint(2, 4)):
            self._update(label, images, values.some_columns(self._random, label))

    def delete(self, label: str, count: int) -> None:
        images = self._pick(label, count)
        query = sql.SQL("delete from {} as t where {} returning to_jsonb(t.*)::text").format(
            _table(label), self._any_of(label, images)
        )
        for (image,) in self.connection.execute(query, self._keys(label, images)).fetchall():
            self.transaction.delete(label, SHAPES[label].key_of(exact(image)))

    def delete_and_insert(self, label: str, count: int) -> None:
        """The same keys come back as other rows."""
        images = self._pick(label, count)
        keys = [self._key_of(label, image) for image in images]
        query = sql.SQL("delete from {} as t where {} returning to_jsonb(t.*)::text").format(
            _table(label), self._any_of(label, images)
        )
        for (image,) in self.connection.execute(query, self._keys(label, images)).fetchall():
            self.transaction.delete(label, SHAPES[label].key_of(exact(image)))
        self._insert(label, [{**values.random_row(self._random, label), **key} for key in keys])

    def change_key(self, label: str, count: int) -> None:
        """One statement for each row, and sometimes other columns with the key."""
        for image in self._pick(label, count):
            key = self._new_key(label)
            if key is not None:
                more = values.some_columns(self._random, label) if self._random.random() < 0.5 else {}
                self._update(label, [image], {**more, **key})

    def truncate(self, labels: Sequence[str]) -> None:
        tables = sql.SQL(", ").join(_table(label) for label in labels)
        self.connection.execute(sql.SQL("truncate {}").format(tables))
        self.transaction.truncate(labels)

    def _insert(self, label: str, rows: list[Row]) -> None:
        if not rows:
            return
        query = sql.SQL("insert into {} as t ({}) values {} returning to_jsonb(t.*)::text").format(
            _table(label),
            _names(rows[0]),
            sql.SQL(", ").join(sql.SQL("({})").format(_placeholders(row)) for row in rows),
        )
        parameters = [value for row in rows for value in row.values()]
        for (image,) in self.connection.execute(query, parameters).fetchall():
            self._take(label, SHAPES[label].key_of(exact(image)))
            self.transaction.insert(label, exact(image))

    def _update(self, label: str, images: list[Image], row: Row) -> None:
        assigned = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in row)
        self._update_where(label, images, assigned, row)

    def _update_where(self, label: str, images: list[Image], assigned: sql.Composable, row: Row) -> None:
        query = sql.SQL("update {} as t set {} where {} returning to_jsonb(old.*)::text, to_jsonb(new.*)::text").format(
            _table(label), assigned, self._any_of(label, images)
        )
        rows = self.connection.execute(query, [*row.values(), *self._keys(label, images)]).fetchall()
        for old, new in rows:
            key = SHAPES[label].key_of(exact(old))
            assert self._image(label, key) == exact(old), "the model does not know the row as it is"
            self._take(label, SHAPES[label].key_of(exact(new)))
            self.transaction.update(label, key, exact(new), row)

    def _pick(self, label: str, count: int) -> list[Image]:
        """Rows that the other transaction does not hold; they are ours from here on."""
        keys = [key for key in self.transaction.keys(label) if self._is_free(label, key)]
        found: list[Image] = []
        for key in self._random.sample(keys, min(count, len(keys))):
            self._take(label, key)
            image = self._image(label, key)
            found += [] if image is None else [image]
        return found

    def _image(self, label: str, key: Key) -> Image | None:
        row = self.transaction.row(label, key)
        return None if row is None else row.image

    def _new_row(self, label: str) -> Row | None:
        key = self._new_key(label)
        return None if key is None else {**values.random_row(self._random, label), **key}

    def _new_key(self, label: str) -> Row | None:
        """A key that no row has; sometimes one that a row had before."""
        row = values.random_key(self._random, label)
        key = tuple(str(row[name]) for name in SHAPES[label].key)
        if self.transaction.row(label, key) is not None or (label, key) in self._taken:
            return None
        self._take(label, key)
        return row

    def _read(self, label: str, rows: list[Row]) -> list[Image]:
        """The rows of these keys, in their order."""
        images: list[Image] = []
        for row in rows:
            same = sql.SQL(" and ").join(sql.SQL("{} = %s").format(sql.Identifier(n)) for n in SHAPES[label].key)
            query = sql.SQL("select to_jsonb(t.*)::text from {} as t where {}").format(_table(label), same)
            found = self.connection.execute(query, [row[name] for name in SHAPES[label].key]).fetchone()
            assert found is not None
            images.append(exact(found[0]))
        return images

    def _key_of(self, label: str, image: Image) -> Row:
        shape: TableShape = SHAPES[label]
        return dict(zip(shape.key, shape.key_of(image), strict=True))

    def _any_of(self, label: str, images: list[Image]) -> sql.Composable:
        if not images:
            return sql.SQL("false")
        names = sql.SQL(", ").join(sql.SQL("t.{}").format(sql.Identifier(name)) for name in SHAPES[label].key)
        one = sql.SQL("({})").format(sql.SQL(", ").join([sql.SQL("%s")] * len(SHAPES[label].key)))
        return sql.SQL("({}) in ({})").format(names, sql.SQL(", ").join([one] * len(images)))

    def _keys(self, label: str, images: list[Image]) -> list[Value]:
        return [text for image in images for text in SHAPES[label].key_of(image)]

    def _is_free(self, label: str, key: Key) -> bool:
        return (label, key) not in self._taken or (label, key) in self._mine

    def _take(self, label: str, key: Key) -> None:
        self._taken.add((label, key))
        self._mine.add((label, key))


def _table(label: str) -> sql.Identifier:
    return sql.Identifier(*label.split(".", 1))


def _names(row: Row) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in row)


def _placeholders(row: Row) -> sql.Composed:
    return sql.SQL(", ").join([sql.SQL("%s")] * len(row))
