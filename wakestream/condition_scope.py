"""What a condition may see: named roots with columns, members and lists below them, typed as in PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal

import msgspec

from wakestream.catalogue import Table

Kind = Literal["bool", "int", "double", "timestamp", "json", "text"]
"""How a condition sees a value; every PostgreSQL type has one of these."""

IMAGES = ("after", "before")
ENTER_LEAVE_ROOTS = frozenset({"after", "key", "now"})
CHANGE_ROOTS = frozenset(
    {"before", "after", "changed", "op", "key", "cause", "inserted", "updated", "deleted", "now"},
)
ACTION_ROOTS = frozenset({"bound", "chosen", "batch", "before", "after", "cause", "event", "run"})
"""For `bind`, `approval` and policy; `args` joins them only where the action trusts what the model wrote."""
TRUSTING_ACTION_ROOTS = ACTION_ROOTS | {"args"}

_KINDS: dict[str, Kind] = {
    "bool": "bool",
    **dict.fromkeys(("int2", "int4", "int8", "oid"), "int"),
    **dict.fromkeys(("float4", "float8", "numeric", "money"), "double"),
    **dict.fromkeys(("timestamptz", "timestamp", "date"), "timestamp"),
    **dict.fromkeys(("json", "jsonb", "hstore", "composite"), "json"),
}
_SPELLINGS = {
    "boolean": "bool",
    "smallint": "int2",
    "integer": "int4",
    "int": "int4",
    "bigint": "int8",
    "real": "float4",
    "double precision": "float8",
    "decimal": "numeric",
    "timestamp without time zone": "timestamp",
    "timestamp with time zone": "timestamptz",
    "time without time zone": "time",
    "time with time zone": "timetz",
    "character varying": "varchar",
    "character": "bpchar",
}
_MODIFIER = re.compile(r"\s*\([^)]*\)")


class Scalar(msgspec.Struct, frozen=True, tag="scalar"):
    """One value, or an array of them; it may always be null, since the whole image may be."""

    base: str
    """As in `catalogue.Column`: the type's own name with domains resolved, an array's element's."""
    array: bool = False

    @property
    def kind(self) -> Kind:
        """How a condition sees it; for an array, each element."""
        return _KINDS.get(self.base, "text")


class Document(msgspec.Struct, frozen=True, tag="document"):
    """One row or nested object, which may be null."""

    fields: dict[str, Scalar | Document | ListOf]
    label: str = ""
    """For messages: `public.flight`, `booking`, `cause`."""
    withheld: frozenset[str] = frozenset()
    """Columns that exist and may not be read: excluded or masked."""


class ListOf(msgspec.Struct, frozen=True, tag="list"):
    """A member with many rows."""

    element: Document


Node = Scalar | Document | ListOf


class Scope(msgspec.Struct, frozen=True):
    """Every name a condition or expression could start with; which of them it may read is said when it is compiled."""

    roots: dict[str, Scalar | Document | ListOf]


def scalar_named(type_name: str) -> Scalar:
    """The scalar of a type as people write it: `numeric(10,2)`, `timestamp with time zone`, `integer[]`."""
    name = _MODIFIER.sub("", type_name.strip().lower())
    array = name.endswith("[]")
    name = name.removesuffix("[]").strip()
    return Scalar(_SPELLINGS.get(name, name), array)


def document_of(table: Table, *, without: Collection[str] = ()) -> Document:
    """A table's rows, without the columns that are excluded or masked."""
    fields: dict[str, Node] = {c.name: Scalar(c.base, c.array) for c in table.columns if c.name not in without}
    return Document(fields, table.label, frozenset(without))


def key_of(table: Table) -> Document:
    """The key columns of a table."""
    wanted = {c.name: Scalar(c.base, c.array) for c in table.columns if c.name in table.key}
    return Document({name: wanted[name] for name in table.key}, f"the key of {table.label}")


CAUSE = Document(
    {
        "action": Scalar("text"),
        "run": Scalar("text"),
        "trigger": Scalar("text"),
        "keys": Scalar("text", array=True),
        "depth": Scalar("int4"),
    },
    "cause",
)
EVENT = Document(
    {
        **dict.fromkeys(("id", "source", "type", "subject"), Scalar("text")),
        "time": Scalar("timestamptz"),
        "untrusted": Scalar("text", array=True),
    },
    "event",
)
RUN = Document(
    {**dict.fromkeys(("id", "activation", "agent", "trigger"), Scalar("text")), "depth": Scalar("int4")},
    "run",
)


ACTION = Document(dict.fromkeys(("id", "name"), Scalar("text")), "action")


def trigger_scope(image: Document, key: Document) -> Scope:
    """What the conditions of a trigger see: a table's rows, or an entity's documents."""
    return Scope(
        {
            "after": image,
            "before": image,
            "key": key,
            "changed": Scalar("text", array=True),
            "op": Scalar("text"),
            "cause": CAUSE,
            **dict.fromkeys(("inserted", "updated", "deleted"), Scalar("bool")),
            "now": Scalar("timestamptz"),
        },
    )


def table_scope(table: Table, *, without: Collection[str] = ()) -> Scope:
    """What the conditions of a trigger on a table see."""
    return trigger_scope(document_of(table, without=without), key_of(table))


def together_scope(trigger: Scope) -> Scope:
    """What the actions of a trigger with `batch` see besides: the rows or documents of all its events."""
    after = trigger.roots["after"]
    return Scope({**trigger.roots, "batch": ListOf(after)}) if isinstance(after, Document) else trigger


def action_scope(trigger: Scope, *, bound: Mapping[str, Node], chosen: Mapping[str, Document]) -> Scope:
    """What an action's expressions see: the trigger's scope, and what was bound and chosen before them."""
    return Scope(
        {
            **trigger.roots,
            "bound": Document(dict(bound), "bound"),
            "chosen": Document(dict(chosen), "chosen"),
            "event": EVENT,
            "run": RUN,
            "action": ACTION,
            "args": Scalar("jsonb"),
        },
    )
