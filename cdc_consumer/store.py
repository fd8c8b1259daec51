"""The context store: mirrors of the captured tables, moved forward change by change, though set by set.

Changes of a batch go in waves: a key stands once in each, so one statement per table and wave applies them and gives
every row's image before and after, as if each change had been applied alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from psycopg import sql

from cdc_consumer import doubtful, keyless, unreadable, waves
from cdc_consumer.decode import Change
from cdc_consumer.doubtful import Doubtful
from cdc_consumer.tables import TablePlan
from cdc_consumer.unknown import WHOLE_ROW, Unknown
from cdc_consumer.unreadable import UNREADABLE, savepoint
from cdc_consumer.waves import NO_KEY, Row
from wakestream.ledger import Connection
from wakestream.withholding import LOST_ROW

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Store:
    """Applies changes to the mirrors of one source, inside the caller's transaction."""

    def __init__(
        self,
        connection: Connection,
        source: str,
        tables: Mapping[str, TablePlan],
        *,
        careful: bool = False,
    ) -> None:
        self._connection = connection
        self._source = source
        self._tables = tables
        self.unknown = Unknown(connection, source)
        """What of the mirrors is not known."""
        self.untrusted: set[str] = set()
        """Tables whose mirror may lack rows or changes."""
        self.careful = careful
        """Whether rows go one by one, so that one that cannot be read is found."""

    def apply(self, changes: Sequence[Change]) -> list[Row]:
        """Apply changes in their order; one result each. Truncates give an empty row."""
        return self.ask(changes)()

    def ask(self, changes: Sequence[Change]) -> Callable[[], list[Row]]:
        """The same, but what is returned waits for the results; other statements may be asked first.

        Results have to be taken in the order in which changes were asked to be applied.
        """
        tables = self._tables
        rows = [Row(c, tables[c.table].of_kept if c.kept else tables[c.table]) for c in changes]
        moved = False
        for previous, row in itertools.pairwise(rows):
            if previous.change.op == "d" and waves.is_move(previous.change, row.change):
                row.moved, moved = previous, True
        whole = not moved and not any(change.op == "t" for change in changes)
        asked: list[Callable[[], None]] = []
        for segment in [rows] if whole and rows else waves.segments(rows):
            if segment[0].change.op == "t":
                self._truncate(segment[0].plan)
                continue
            for plan, wave in waves.of(segment):
                finish = self._ask_wave(plan, wave)
                if finish is None:  # It needs answers at once, and those before it first.
                    _finish(asked)
                    self._apply_wave(plan, wave)
                else:
                    asked.append(finish)

        def take() -> list[Row]:
            _finish(asked)
            return rows

        return take

    def _ask_wave(self, plan: TablePlan, wave: list[Row]) -> Callable[[], None] | None:
        """Ask for a wave whose images tell everything; what is returned takes the answers.

        None for a wave that needs more than that.
        """
        if self.careful or not plan.simple_key or not plan.settings.mirror:
            return None
        if plan.kept and any(row.change.fills for row in wave):
            return None
        plain = [row for row in wave if row.change.op != "d"]
        images = [row.change.after or b"{}" for row in plain]
        uncertain = self.unknown.any(plan.label) or bool(plan.nulls_for_toast)
        if uncertain or doubtful.may_be_ragged(plan, images) or plan.may_be_doubtful(images):
            return None
        deletes = [row for row in wave if row.change.op == "d"]
        upserted = self._connection.ask(plan.upsert, (json_array(images),)) if plain else None
        deleted = self._connection.ask(plan.delete, (json_array(r.change.key for r in deletes),)) if deletes else None

        def finish() -> None:
            for row, key in zip(wave, self.keys(plan, [row.change for row in wave]), strict=True):
                row.key = key
            if upserted is not None:
                for row, (before, after) in zip(plain, upserted.fetchall(), strict=True):
                    row.before, row.after = before, after
            if deleted is not None:
                for place, image in deleted.fetchall():
                    deletes[place - 1].before = image
            self._settle_wave(plan, wave, {})

        return finish

    def _apply_wave(self, plan: TablePlan, wave: list[Row]) -> None:
        if plan.keyless:
            self._show(plan, wave)
            return
        for row, key in zip(wave, self._readable_keys(plan, wave), strict=True):
            row.key = key
        if self.careful:
            wave = [row for row in wave if row.error is None]
        known = self.unknown.of(plan.label, [row.key for row in wave])
        for row in wave:
            if row.change.fills:
                self._fill(row, known.get(row.key, frozenset()))
        plain = [row for row in wave if row.change.op != "d" and not row.change.fills]
        images = [row.change.after or b"{}" for row in plain]
        ragged = doubtful.may_be_ragged(plan, images)
        if ragged or plan.may_be_doubtful(images):
            clear: list[Row] = []
            for row, image in zip(plain, images, strict=True):
                if plan.is_doubtful(image) or (ragged and doubtful.is_ragged(plan, image)):
                    self._apply_doubtful(row, known)
                else:
                    clear.append(row)
            plain = clear
        deletes = [row for row in wave if row.change.op == "d"]
        self._upsert(plan, plain)
        self._delete(plan, deletes)
        self._settle_wave(plan, wave, known)
        if known:
            self.unknown.forget(
                plan.label, [row.key for row in [*plain, *deletes] if row.key in known and not row.missing_after]
            )

    def _show(self, plan: TablePlan, wave: list[Row]) -> None:
        """Rows of a table without a key: their changes tell both images."""
        for row in wave:
            row.key = NO_KEY
        for part in [[row] for row in wave] if self.careful else [wave]:
            images = keyless.images(plan, part)
            try:
                with savepoint(self._connection, wanted=self.careful):
                    found = self._connection.ask(plan.show, (json_array(images.texts),)).fetchall()
            except UNREADABLE as error:
                if not self.careful:
                    raise
                part[0].error, part[0].before_known = unreadable.reason(plan, error), part[0].change.op == "c"
                part[0].missing_after = frozenset({WHOLE_ROW})
                continue
            images.tell([text for (text,) in found])

    @staticmethod
    def key_of(plan: TablePlan, fields: Mapping[str, msgspec.Raw]) -> str:
        """A stored row's key in the form that `keys` gives: compact, in index order."""
        return msgspec.json.encode({column.name: fields[column.name] for column in plan.key_columns}).decode()

    def readable_keys(self, plan: TablePlan, changes: Sequence[Change]) -> list[str]:
        """The same as `keys`; in a careful store, those that PostgreSQL cannot read stay as they are."""
        return self._readable_keys(plan, [Row(change, plan) for change in changes])

    def _readable_keys(self, plan: TablePlan, wave: list[Row]) -> list[str]:
        """Their keys; of a row whose key PostgreSQL cannot read nothing is applied."""
        if not self.careful:
            return self.keys(plan, [row.change for row in wave])
        keys: list[str] = []
        for row in wave:
            try:
                with self._connection.transaction():
                    self._connection.ask(plan.key_texts, (json_array([row.change.key]),)).fetchall()
                    found = self.keys(plan, [row.change])
            except UNREADABLE as error:
                found = [canonical(row.change.key)]
                row.error, row.before_known = unreadable.reason(plan, error), False
                row.missing_after = frozenset({WHOLE_ROW})
            keys += found
        return keys

    def keys(self, plan: TablePlan, changes: Sequence[Change]) -> list[str]:
        """The changes' keys as JSON objects with values as `to_jsonb` prints them."""
        if plan.simple_key:
            together = b"\n".join([change.key for change in changes])
            if b"\\" not in together:
                return together.decode().split("\n")
            return [canonical(change.key) for change in changes]
        texts = self._connection.ask(plan.key_texts, (json_array(change.key for change in changes),)).fetchall()
        return [msgspec.json.encode(_fields.decode(text)).decode() for (text,) in texts]

    def _upsert(self, plan: TablePlan, wave: list[Row]) -> None:
        if not wave:
            return
        for part in [[row] for row in wave] if self.careful else [wave]:
            listed = json_array([row.change.after or b"null" for row in part])
            try:
                with savepoint(self._connection, wanted=self.careful):
                    query = plan.upsert if plan.settings.mirror else plan.show
                    found = self._connection.ask(query, (listed,)).fetchall()
            except UNREADABLE as error:
                if not self.careful:
                    raise
                self._lose(part[0], unreadable.reason(plan, error))
                continue
            if plan.settings.mirror:
                for row, (before, after) in zip(part, found, strict=True):
                    row.before, row.after = before, after
            else:
                for row, (after,) in zip(part, found, strict=True):
                    row.after = after

    def _delete(self, plan: TablePlan, wave: list[Row]) -> None:
        if not wave or not plan.settings.mirror:
            return
        listed = json_array(row.change.key for row in wave)
        for place, image in self._connection.ask(plan.delete, (listed,)).fetchall():
            wave[place - 1].before = image

    def _truncate(self, plan: TablePlan) -> None:
        if plan.settings.mirror:
            self._connection.execute(sql.SQL("delete from {}").format(plan.mirror))
            self.unknown.forget_table(plan.label)

    def _lose(self, row: Row, error: str) -> None:
        """A row whose values PostgreSQL cannot read: nothing of it is known any more."""
        row.error = error
        if row.plan.settings.mirror:
            self._delete(row.plan, [row])
        row.missing_after = frozenset({WHOLE_ROW})
        self.unknown.remember(row.plan.label, row.key, {WHOLE_ROW, LOST_ROW})

    def _apply_doubtful(self, row: Row, known: Mapping[str, frozenset[str]]) -> None:
        """One image that does not tell all: what is unchanged comes from the store, what is lost is remembered."""
        found = doubtful.examine(row.plan, row.change.after or b"{}")
        plan, moved = row.plan, row.moved
        source_missing = known.get(row.key, frozenset())
        if moved is not None and moved.before is not None:
            source_missing = moved.missing_before
        if not plan.settings.mirror:
            row.change = msgspec.structs.replace(row.change, after=found.image)
            self._upsert(plan, [row])
            row.missing_after |= found.lost | found.unchanged
            return
        row.before, row.after = self._upsert_doubtful(row, found)
        if row.error is not None:
            return
        before = moved.before if moved is not None else row.before
        fillable = before is not None and plan.label not in self.untrusted and WHOLE_ROW not in source_missing
        unfilled = (found.unchanged & source_missing) if fillable else found.unchanged
        row.missing_after = found.lost | unfilled
        self.unknown.remember(row.plan.label, row.key, row.missing_after)

    def _fill(self, row: Row, unknown: frozenset[str]) -> None:
        """Values that the store lacks, and no others."""
        told = _fields.decode(row.change.after or b"{}").keys()
        found = doubtful.examine(row.plan, row.change.after or b"{}")
        lost = found.lost & told
        others = frozenset(column.name for column in row.plan.shown if column.name not in told)
        row.before, row.after = self._upsert_doubtful(row, Doubtful(found.image, lost, others))
        if row.error is None:
            row.missing_after = (unknown - told) | lost
            self.unknown.remember(row.plan.label, row.key, row.missing_after)

    def _upsert_doubtful(self, row: Row, found: Doubtful) -> tuple[str | None, str | None]:
        plan = row.plan
        old = _fields.decode(row.moved.before) if row.moved is not None and row.moved.before is not None else {}
        kept = {name: bytes(old[name]).decode() for name in found.unchanged if name in old}
        values = [plan.restored(c) if c.name in kept else plan.expression(c) for c in plan.shown]
        parameters = [kept[c.name] for c in plan.shown if c.name in kept]
        query = sql.SQL(
            "insert into {} as m ({}) select {} from json_to_recordset(%s::json) as x({})"
            " on conflict ({}) do update set {} returning to_jsonb(old.*)::text, to_jsonb(new.*)::text"
        ).format(
            plan.mirror,
            sql.SQL(", ").join(sql.Identifier(column.name) for column in plan.shown),
            sql.SQL(", ").join(values),
            plan.record,
            sql.SQL(", ").join(sql.Identifier(column.name) for column in plan.key_columns),
            sql.SQL(", ").join(
                sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c.name))
                for c in plan.shown
                if c.name not in found.unchanged
            ),
        )
        parameters.append(json_array([found.image]))
        try:
            with savepoint(self._connection, wanted=self.careful):
                images = self._connection.execute(query, parameters, prepare=False).fetchone()
        except UNREADABLE as error:
            if not self.careful:
                raise
            self._lose(row, unreadable.reason(plan, error))
            return row.before, None
        return (images[0], images[1]) if images else (None, None)

    def _settle_wave(self, plan: TablePlan, wave: list[Row], known: Mapping[str, frozenset[str]]) -> None:
        """Most rows need no second look: an insert had no row before, and an image that is there is true."""
        if not plan.settings.mirror and not known and not plan.nulls_for_toast:
            for row in wave:
                row.before_known = row.change.op == "c"
            return
        plainly = plan.settings.mirror and plan.label not in self.untrusted and not known
        for row in wave:
            if plainly and row.change.op == "c" and row.moved is None and not row.change.moved:
                row.before = None
            elif not plainly or row.before is None or row.moved is not None or plan.nulls_for_toast:
                self._settle(row, known)

    def _settle(self, row: Row, known: Mapping[str, frozenset[str]]) -> None:
        """What may be said of the image before, and nothing more."""
        row.missing_before = known.get(row.key, frozenset())
        if row.change.op == "c":
            row.before, row.missing_before = None, frozenset()
        elif row.plan.label in self.untrusted or WHOLE_ROW in row.missing_before or not row.plan.settings.mirror:
            row.before_known = False
        elif row.before is None and row.change.op != "r":
            row.before_known = False  # a row that is changed was there; the store has missed it
        hidden = doubtful.hidden(row.plan, row) if row.plan.nulls_for_toast else frozenset[str]()
        if not hidden <= row.missing_after:
            row.missing_after |= hidden
            if row.plan.settings.mirror:
                self.unknown.remember(row.plan.label, row.key, row.missing_after)


def _finish(asked: list[Callable[[], None]]) -> None:
    """Take the answers in the order of the questions."""
    for finish in asked:
        finish()
    asked.clear()


def json_array(texts: Iterable[bytes]) -> str:
    """JSON texts as one array of them."""
    return (b"[%s]" % b",".join(texts)).decode()


def canonical(key: bytes) -> str:
    """A key's text with escapes as PostgreSQL and we write them, which are not Debezium's."""
    return (msgspec.json.encode(msgspec.json.decode(key)) if b"\\" in key else key).decode()
