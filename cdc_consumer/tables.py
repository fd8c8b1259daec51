"""One captured table, compiled: the statements that mirror its rows, and what its events always say."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import re
import uuid
from collections.abc import Sequence
from functools import cached_property

import msgspec
from psycopg import sql

from cdc_consumer import columns, masks
from cdc_consumer.decode import Change
from wakestream import exact_json, mirroring, topics
from wakestream.capture import CapturedTable
from wakestream.catalogue import Column, Table

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FAR_YEAR = rb'"(?:[+-]\d{4,}|0000)-\d\d-\d\d'
_ARRAY_OF_ARRAYS = rb'\[null|"\[L'


@dataclasses.dataclass(frozen=True, eq=False)
class TablePlan:
    """How the changes of one table are read, mirrored and shown."""

    source: str
    table: Table
    settings: CapturedTable
    placeholder: str
    """What Debezium writes for an unchanged value that it was not sent."""
    kept: bool = False
    """Whether changes come as the ledger has kept them: images with their masks applied, keys as it prints them."""

    @cached_property
    def of_kept(self) -> TablePlan:
        """The same for changes whose images `mask_image` has made, and whose keys are those of stored rows."""
        return dataclasses.replace(self, kept=True)

    def of(self, change: Change) -> TablePlan:
        """The plan that reads this change."""
        return self.of_kept if change.kept else self

    def mask_image(self, image: bytes, shown: str) -> bytes:
        """An image of Debezium's in which the masked columns stand as they are shown."""
        fields, masked = _fields.decode(image), _fields.decode(shown)
        return msgspec.json.encode(fields | {name: masked[name] for name in self.settings.mask if name in masked})

    @cached_property
    def label(self) -> str:
        """`schema.table`."""
        return self.table.label

    @cached_property
    def shown(self) -> tuple[Column, ...]:
        """The columns of the images: neither excluded nor always lost."""
        return mirroring.shown(self.table, self.settings)

    @cached_property
    def shown_names(self) -> frozenset[str]:
        """The names of the columns of the images."""
        return frozenset(column.name for column in self.shown)

    @cached_property
    def lost(self) -> tuple[str, ...]:
        """Columns that are in no image and named `missing` in each."""
        hidden = self.settings.hidden
        return tuple(c.name for c in self.table.columns if c.name not in hidden and self._is_lost(c))

    def _is_lost(self, column: Column) -> bool:
        return mirroring.is_lost(column) or column.name in self.settings.lost

    @cached_property
    def nulls_for_toast(self) -> frozenset[str]:
        """Columns whose null may be an unchanged value that was not sent."""
        return frozenset(column.name for column in self.shown if mirroring.null_for_toast(column))

    def may_hide(self, image: bytes) -> bool:
        """Whether an image has a null that may stand for such a value."""
        return any(field in image for field in self._hiding_nulls)

    @cached_property
    def _hiding_nulls(self) -> tuple[bytes, ...]:
        return tuple(_null_field(column) for column in self.shown if column.name in self.nulls_for_toast)

    @cached_property
    def untrusted(self) -> tuple[str, ...]:
        """Shown columns whose text somebody else wrote."""
        shown = {column.name for column in self.shown}
        return tuple(name for name in self.settings.untrusted if name in shown)

    @cached_property
    def key_columns(self) -> tuple[Column, ...]:
        """The key's columns in index order."""
        return tuple(column for name in self.table.key if (column := self.table.column(name)) is not None)

    @cached_property
    def keyless(self) -> bool:
        """Whether it has no primary key: its rows cannot be told apart, so none is mirrored."""
        return not self.table.key

    @cached_property
    def simple_key(self) -> bool:
        """Whether the message's key is what `to_jsonb` would print, so that PostgreSQL need not be asked."""
        return all(map(columns.is_simple_key, self.key_columns))

    def is_doubtful(self, image: bytes) -> bool:
        """Whether an image may hold a value that is lost or was not sent. Cheap, and sometimes wrongly true."""
        if any(needle in image for needle in self._needles) and self._suspicious.search(image):
            return True
        return self._may_nest and exact_json.may_be_deep(image)

    def may_be_doubtful(self, images: Sequence[bytes]) -> bool:
        """Whether any of these images may be; one search over all of them costs next to nothing."""
        together = b"\n".join(images)
        far = self._far
        return any(needle in together for needle in self._plain_needles) or (
            (far is not None and far.search(together) is not None)
            or (self._may_nest and any(map(exact_json.may_be_deep, images)))
        )

    @cached_property
    def _may_nest(self) -> bool:
        return any(column.base in columns.JSON for column in self.shown)

    @cached_property
    def _far(self) -> re.Pattern[bytes] | None:
        """A time that may be far away, as one search; in arrays it has no name before it."""
        temporal = [column for column in self.shown if column.base in columns.TEMPORAL]
        if not temporal:
            return None
        return re.compile((b'"' if any(column.array for column in temporal) else b'":"') + rb"(?:[+-]|0000-)")

    @cached_property
    def _plain_needles(self) -> tuple[bytes, ...]:
        return tuple(needle for needle in self._needles if needle not in (b'"+', b'"-', b'"0000-'))

    @cached_property
    def _needles(self) -> tuple[bytes, ...]:
        """Bytes without which an image tells everything: looked for first, since that takes a tenth of the time."""
        needles = [form.encode() for form in self.placeholder_forms.values()]
        if any(column.base in columns.TEMPORAL for column in self.shown):
            needles += [b'"+', b'"-', b'"0000-']
        if any(column.array for column in self.shown):
            needles += [b"[null", b'"[L']
        if self.settings.forms or any(mirroring.is_turned(column) for column in self.shown):
            needles.append(columns.UNKNOWN)
        return (*needles, *(_null_field(c) for c in self.shown if columns.null_may_hide(c)))

    @cached_property
    def _suspicious(self) -> re.Pattern[bytes]:
        patterns = [re.escape(form.encode()) for form in self.placeholder_forms.values()]
        patterns += [_FAR_YEAR, _ARRAY_OF_ARRAYS, re.escape(columns.UNKNOWN)]
        patterns += [re.escape(_null_field(c)) for c in self.shown if columns.null_may_hide(c)]
        return re.compile(b"|".join(patterns))

    @cached_property
    def placeholder_forms(self) -> dict[str, str]:
        """The JSON under which the placeholder appears, by kind of column, where this table has such columns."""
        text, raw = self.placeholder, self.placeholder.encode()
        encoded = base64.b64encode(raw).decode()
        digest = bytearray(hashlib.md5(raw, usedforsecurity=False).digest())
        digest[6], digest[8] = digest[6] & 0x0F | 0x30, digest[8] & 0x3F | 0x80
        forms = {
            "text": f'"{text}"',
            "bytea": f'"{encoded}"',
            "int[]": "[" + ",".join(str(byte) for byte in raw) + "]",
            "uuid[]": f'"{uuid.UUID(bytes=bytes(digest))}"',
            "hstore": f'{{"{text}":"{text}"}}',
        }
        needed = {_placeholder_kind(column) for column in self.shown if column.toastable}
        return {kind: form for kind, form in forms.items() if kind in needed}

    def is_placeholder(self, column: Column, text: bytes) -> bool:
        """Whether a field's raw JSON is the placeholder for a column of this kind."""
        form = self.placeholder_forms.get(_placeholder_kind(column))
        if form is None:
            return False
        wrapped = f"[{form}]" if column.array and not form.startswith("[") else form
        return text == wrapped.encode()

    @cached_property
    def mirror(self) -> sql.Identifier:
        """The mirror's qualified name in the ledger."""
        return sql.Identifier(topics.mirror_schema(self.source, self.table.schema), self.table.name)

    @cached_property
    def record(self) -> sql.Composed:
        """The column definition list under which `json_to_recordset` reads the images."""
        return _definitions(self.shown, self._masked)

    @cached_property
    def key_record(self) -> sql.Composed:
        """The same for the keys alone."""
        if not self.kept:
            return _definitions(self.key_columns)
        return sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(c.name), self.sql_type(c)) for c in self.key_columns
        )

    def _key_value(self, column: Column) -> sql.Composable:
        """A key column's value out of the record set `x`."""
        name = sql.Identifier("x", column.name)
        return name if self.kept else columns.value(column, name)

    def expression(self, column: Column) -> sql.Composable:
        """A column's value out of the record set `x`, masked where the configuration says so."""
        if column.name in self._masked:
            return sql.Identifier("x", column.name)
        expression = columns.value(column, sql.Identifier("x", column.name))
        kind = self.settings.mask.get(column.name)
        return expression if kind is None else masks.masked(kind, expression)

    @cached_property
    def _masked(self) -> frozenset[str]:
        """Columns whose values are the masked text already."""
        return frozenset(self.settings.mask) if self.kept else frozenset()

    def restored(self, column: Column) -> sql.Composable:
        """A column's value out of its own JSON as `to_jsonb` prints it (one parameter)."""
        if column.array and column.base in ("json", "jsonb"):  # whose elements may be arrays themselves
            return sql.SQL(
                "(select array_agg(e::{base} order by n) from jsonb_array_elements(%s::jsonb) with ordinality a(e, n))"
            ).format(base=sql.Identifier(column.base))
        name = sql.Identifier(column.name)
        return sql.SQL("(jsonb_populate_record(null::{}, jsonb_build_object({}, %s::jsonb))).{}").format(
            self.mirror, sql.Literal(column.name), name
        )

    def mirror_type(self, column: Column) -> str:
        """The type of a column in the mirror."""
        return "text" if column.name in self.settings.mask else mirroring.ledger_type(column)

    def sql_type(self, column: Column) -> sql.SQL:
        """The same, for a statement."""
        return _raw(self.mirror_type(column))

    @cached_property
    def create(self) -> sql.Composed:
        """Makes the mirror and what it stands in."""
        listed = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(c.name), self.sql_type(c)) for c in self.shown
        )
        return sql.SQL("create table if not exists {} ({}, primary key ({}))").format(
            self.mirror, listed, _names(self.key_columns)
        )

    @cached_property
    def upsert(self) -> bytes:
        """Mirrors images (one JSON array) and returns the old and the new row of each, in order."""
        assignments = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c.name)) for c in self.shown
        )
        return rendered(
            sql.SQL(
                "insert into {mirror} as m ({names}) select {values} from json_to_recordset(%s::json) as x({record})"
                " on conflict ({key}) do update set {assignments}"
                " returning to_jsonb(old.*)::text, to_jsonb(new.*)::text"
            ).format(
                mirror=self.mirror,
                names=_names(self.shown),
                values=self.values,
                record=self.record,
                key=_names(self.key_columns),
                assignments=assignments,
            )
        )

    @cached_property
    def values(self) -> sql.Composed:
        """The images' values in the order of `shown`."""
        return sql.SQL(", ").join(self.expression(column) for column in self.shown)

    @cached_property
    def show(self) -> bytes:
        """The images as `to_jsonb` prints them, without mirroring; in order."""
        return self._show(self.shown)

    def show_columns(self, names: tuple[str, ...]) -> bytes:
        """The same of some columns."""
        return self._show(tuple(column for name in names if (column := self.table.column(name)) is not None))

    def _show(self, listed: tuple[Column, ...]) -> bytes:
        values = sql.SQL(", ").join(
            sql.SQL("{} as {}").format(self.expression(c), sql.Identifier(c.name)) for c in listed
        )
        return rendered(
            sql.SQL("select to_jsonb(r.*)::text from (select {} from json_to_recordset(%s::json) as x({})) r").format(
                values, _definitions(listed, self._masked)
            )
        )

    @cached_property
    def same_key(self) -> sql.Composed:
        """Joins the mirror `m` with keys `x`."""
        return sql.SQL(" and ").join(
            sql.SQL("m.{} = {}").format(sql.Identifier(c.name), self._key_value(c)) for c in self.key_columns
        )

    @cached_property
    def delete(self) -> bytes:
        """Deletes keys (one JSON array) and returns place (from one) and old row of each that was there."""
        return rendered(
            sql.SQL(
                "delete from {} as m using rows from (json_to_recordset(%s::json) as ({})) with ordinality"
                " as x({}, wake__place) where {} returning x.wake__place, to_jsonb(m.*)::text"
            ).format(self.mirror, self.key_record, _names(self.key_columns), self.same_key)
        )

    @cached_property
    def present(self) -> bytes:
        """Place (from one) and stored row of each key that the mirror has."""
        return rendered(
            sql.SQL(
                "select x.wake__place, to_jsonb(m.*)::text from {} as m"
                " join rows from (json_to_recordset(%s::json) as ({})) with ordinality as x({}, wake__place)"
                " on {} order by 1"
            ).format(self.mirror, self.key_record, _names(self.key_columns), self.same_key)
        )

    @cached_property
    def stored_key(self) -> sql.Composed:
        """The key of a stored row `m` as the text that `Store.keys` gives: a compact object in index order."""
        parts = [
            sql.SQL("{} || to_json(m.{})::text").format(
                sql.Literal(("," if place else "{") + msgspec.json.encode(c.name).decode() + ":"),
                sql.Identifier(c.name),
            )
            for place, c in enumerate(self.key_columns)
        ]
        return sql.SQL("{} || '}}'").format(sql.SQL(" || ").join(parts))

    @cached_property
    def key_texts(self) -> bytes:
        """Keys as `to_jsonb` prints their values, each an object in index order."""
        pairs = sql.SQL(", ").join(
            sql.SQL("{}, {}").format(sql.Literal(c.name), self._key_value(c)) for c in self.key_columns
        )
        return rendered(
            sql.SQL("select json_build_object({})::text from json_to_recordset(%s::json) as x({})").format(
                pairs, self.key_record
            )
        )


def rendered(query: sql.Composable) -> bytes:
    """A statement as text, put together once and not with every execution."""
    return query.as_bytes(None)


def _placeholder_kind(column: Column) -> str:
    if column.array and column.base in ("int2", "int4", "int8", "date"):
        return "int[]"
    if column.array and column.base == "uuid":
        return "uuid[]"
    if column.base == "hstore":
        return "hstore"
    return "bytea" if column.base == "bytea" else "text"


def _null_field(column: Column) -> bytes:
    return f'"{column.name}":null'.encode()


def _names(listed: tuple[Column, ...]) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(column.name) for column in listed)


def _definitions(listed: tuple[Column, ...], as_text: frozenset[str] = frozenset()) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(c.name), _raw("text" if c.name in as_text else columns.wire_type(c)))
        for c in listed
    )


def _raw(type_name: str) -> sql.SQL:
    """A type's name as `format_type` printed it, which quotes what needs quoting."""
    return sql.SQL(type_name)  # pyright: ignore[reportArgumentType]
