"""Three tables with columns of every everyday type, and random values for them as PostgreSQL reads them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from tests.harness.oracle import Documents, TableShape
from wakestream.capture import Entity, Member

Value = str | None
Make = Callable[[random.Random], Value]

_WORDS = (
    "late",
    "on time",
    "",
    "naïve",
    "日本",
    "🛫",
    "it's",
    '"quoted"',
    "back\\slash",
    "tab\there",
    "a,b",
    "{}",
    "null",
)
_CONTROL = "\x01\x0b\x1f\x7f"
_SCALARS: tuple[Any, ...] = (None, True, 1.50, -7, "x\ty", [1, {"deep": None}])


@dataclass(frozen=True)
class ColumnSpec:
    """One column and how its values are made."""

    name: str
    type: str
    make: Make
    nullable: bool = True

    def value(self, rng: random.Random) -> Value:
        return None if self.nullable and rng.random() < 0.15 else self.make(rng)


def _text(rng: random.Random) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(rng.randint(0, 4)))


def _long_text(rng: random.Random) -> str:
    """Too long to stand in the row, one time in two, and not to be compressed."""
    return rng.randbytes(rng.choice((3, 20, 2500, 6000))).hex()


def _bytes(rng: random.Random) -> str:
    return "\\x" + rng.randbytes(rng.choice((0, 1, 8))).hex()


def _long_bytes(rng: random.Random) -> str:
    return "\\x" + rng.randbytes(rng.choice((1, 8, 5000))).hex()


def _json(rng: random.Random) -> str:
    inner = {_text(rng): rng.choice(_SCALARS) for _ in range(rng.randint(0, 3))}
    value: Any = rng.choice((inner, [inner], "text", 12.30, None))
    return json.dumps(value, ensure_ascii=rng.random() < 0.5)


def _long_json(rng: random.Random) -> str:
    return json.dumps({rng.randbytes(8).hex(): rng.randbytes(30).hex() for _ in range(rng.choice((1, 80)))})


def _number(rng: random.Random) -> str:
    special = ("NaN", "Infinity", "-Infinity", "0.00", "123456789012345678901234567890.123456789")
    return rng.choice(special) if rng.random() < 0.2 else f"{rng.randint(-99999, 99999)}.{rng.randint(0, 99):02d}"


def _fare(rng: random.Random) -> str:
    return f"{rng.randint(0, 99999)}.{rng.randint(0, 99):02d}"


def _float(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return repr(rng.uniform(-1e6, 1e6))
    return rng.choice(("NaN", "Infinity", "-Infinity", "-0", "1e300", "5e-324"))


def _real(rng: random.Random) -> str:
    return rng.choice(("NaN", "-Infinity", "1.1", "3.4e38", repr(rng.uniform(-10, 10))))


def _day(rng: random.Random) -> str:
    """Debezium moves days of the old calendar in snapshots and arrays, so there are none."""
    return f"{rng.randint(1600, 2999)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _clock(rng: random.Random) -> str:
    fraction = rng.choice(("", f".{rng.randint(0, 999999):06d}", ".5"))
    return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d}{fraction}"


def _any_day(rng: random.Random) -> str:
    return rng.choice(("infinity", "-infinity", "12345-06-07")) if rng.random() < 0.1 else _day(rng)


def _moment(rng: random.Random) -> str:
    return f"{_day(rng)} {_clock(rng)}"


def _any_moment(rng: random.Random) -> str:
    special = ("infinity", "-infinity", "0044-03-15 10:00:00 BC", "0001-01-02 03:04:05 BC", "12345-06-07 08:09:10")
    return rng.choice(special) if rng.random() < 0.1 else _moment(rng)


def _span(rng: random.Random) -> str:
    parts = (f"{rng.randint(-9, 9)} years", f"{rng.randint(-20, 20)} mons", f"{rng.randint(-40, 40)} days")
    return f"{rng.choice(('', ' '.join(parts)))} {rng.choice(('', '-'))}{_clock(rng)}"


def _uuid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128)))


def _array(make: Make, lengths: tuple[int, ...] = (0, 1, 3), nulls: float = 0.2) -> Make:
    """A one-dimensional array; one with nothing but NULLs may not be told from a lost one, so it is not made."""

    def made(rng: random.Random) -> str:
        elements = [None if rng.random() < nulls else make(rng) for _ in range(rng.choice(lengths))]
        if elements and all(element is None for element in elements):
            elements[0] = make(rng)
        return "{" + ",".join("NULL" if e is None else json.dumps(e, ensure_ascii=False) for e in elements) + "}"

    return made


def _escaped(make: Make) -> Make:
    """Text as an array literal has it inside quotes: only quotes and backslashes are special."""
    return lambda rng: (make(rng) or "").replace("\t", " ")


def _integer(bits: int) -> Make:
    return lambda rng: str(rng.choice((0, -1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)), rng.randint(-100, 100))))


def _one_of(*texts: str) -> Make:
    return lambda rng: rng.choice(texts)


_status = _one_of("scheduled", "delayed", "cancelled", "boarding")

COLUMNS: dict[str, tuple[ColumnSpec, ...]] = {
    "public.flight": (
        ColumnSpec("id", "int", lambda rng: str(rng.randint(1, 400)), nullable=False),
        ColumnSpec("status", "text", _status, nullable=False),
        ColumnSpec("flag", "boolean", _one_of("true", "false")),
        ColumnSpec("small", "int2", _integer(16)),
        ColumnSpec("whole", "int", _integer(32)),
        ColumnSpec("large", "int8", _integer(64)),
        ColumnSpec("ratio", "float8", _float),
        ColumnSpec("single", "real", _real),
        ColumnSpec("fare", "numeric(12, 2)", _fare),
        ColumnSpec("amount", "numeric", _number),
        ColumnSpec("title", "varchar(80)", _text),
        ColumnSpec("code", "char(5)", _one_of("a", "ab cd", "")),
        ColumnSpec("ref", "uuid", _uuid),
        ColumnSpec("mood", "mood", _one_of("sad", "it's ok")),
        ColumnSpec("day", "date", _any_day),
        ColumnSpec("at", "time", _clock),
        ColumnSpec("moment", "timestamp", _any_moment),
        ColumnSpec("instant", "timestamptz", _any_moment),
        ColumnSpec("span", "interval", _span),
        ColumnSpec("doc", "json", _json),
        ColumnSpec("data", "jsonb", _json),
        ColumnSpec("raw", "bytea", _bytes),
        ColumnSpec("big", "text", _long_text),
    ),
    "public.customer": (
        ColumnSpec(
            "code",
            "text",
            lambda rng: f"{rng.choice(_WORDS)}{rng.choice(('', '/', '%', *_CONTROL))}{rng.randint(0, 60)}",
            nullable=False,
        ),
        ColumnSpec("name", "varchar(200)", _text),
        ColumnSpec("tags", "text[]", _array(_escaped(_text))),
        ColumnSpec("numbers", "int[]", _array(_integer(32), (0, 2, 700))),
        ColumnSpec("larges", "int8[]", _array(_integer(64))),
        ColumnSpec("prices", "numeric[]", _array(_number)),
        ColumnSpec("moods", "mood[]", _array(_one_of("sad", "it's ok"))),
        ColumnSpec("ratios", "float8[]", _array(_float, (0, 1, 300))),
        ColumnSpec("flags", "boolean[]", _array(_one_of("true", "false"))),
        ColumnSpec("days", "date[]", _array(_day)),
        ColumnSpec("moments", "timestamp[]", _array(_moment)),
        ColumnSpec("instants", "timestamptz[]", _array(_moment)),
        ColumnSpec("refs", "uuid[]", _array(_uuid)),
        ColumnSpec("blobs", "bytea[]", _array(_bytes)),
        ColumnSpec("datas", "jsonb[]", _array(_json)),
        ColumnSpec("prefs", "jsonb", _long_json),
        ColumnSpec("photo", "bytea", _long_bytes),
        ColumnSpec("hours", "time[]", _array(_clock)),
        ColumnSpec("note", "text", _text),
    ),
    "public.booking": (
        ColumnSpec("day", "date", lambda rng: f"2026-11-{rng.randint(1, 28):02d}", nullable=False),
        ColumnSpec("flight_id", "int", lambda rng: str(rng.randint(1, 400))),
        ColumnSpec("customer", "text", lambda rng: COLUMNS["public.customer"][0].make(rng)),
        ColumnSpec("number", "numeric(8, 2)", lambda rng: f"{rng.randint(0, 999) / 100:.2f}", nullable=False),
        ColumnSpec("fare", "numeric(10, 2)", _fare),
        ColumnSpec("remarks", "text", _long_text),
        ColumnSpec("status", "text", _one_of("confirmed", "cancelled")),
    ),
}  # fmt: skip

DDL = (
    "create type mood as enum ('sad', 'it''s ok');"
    + "".join(
        f"create table {label} ("
        + ", ".join(f"{c.name} {c.type}{'' if c.nullable else ' not null'}" for c in columns)
        + ("" if label != "public.customer" else ", label text generated always as (name || '!') stored")
        + {"public.flight": ", primary key (id)", "public.customer": ", primary key (code)"}.get(
            label, ", primary key (number, day)"
        )
        + ");"
        for label, columns in COLUMNS.items()
    )
    + "create sequence flight_id_seq owned by flight.id;"
    + "alter table flight alter id set default nextval('flight_id_seq')"
)


SHAPES = {
    "public.flight": TableShape("public.flight", ("id",), loses_infinity=("day", "moment")),
    "public.customer": TableShape(
        "public.customer",
        ("code",),
        lost=("hours", "label"),
        null_hides={"prices": ("NaN", "Infinity", "-Infinity"), "moods": (None,)},
        hides_unchanged=("ratios", "flags", "days", "moments", "instants", "blobs", "photo"),
    ),
    "public.booking": TableShape("public.booking", ("number", "day")),
}

INITIAL = {"public.flight": 40, "public.customer": 30, "public.booking": 40}
"""How many rows there are before anything is captured."""

ENTITY = Entity(
    "booking",
    "public.booking",
    (
        Member("customer", "public.customer", columns=("customer",), references=("code",)),
        Member("flight", "public.flight", columns=("flight_id",), references=("id",)),
    ),
)
DOCUMENTS = Documents(
    "booking",
    "public.booking",
    {"customer": ("public.customer", "customer"), "flight": ("public.flight", "flight_id")},
)


def random_row(rng: random.Random, label: str) -> dict[str, Value]:
    """A value for every column, the key's included."""
    return {column.name: column.value(rng) for column in COLUMNS[label]}


def random_key(rng: random.Random, label: str) -> dict[str, Value]:
    """Values for the key's columns, written as PostgreSQL prints them."""
    key = SHAPES[label].key
    return {column.name: column.make(rng) for column in COLUMNS[label] if column.name in key}


def some_columns(rng: random.Random, label: str) -> dict[str, Value]:
    """New values for a few columns that are not of the key."""
    others = [column for column in COLUMNS[label] if column.name not in SHAPES[label].key]
    chosen: list[Any] = rng.sample(others, rng.randint(1, min(4, len(others))))
    return {column.name: column.value(rng) for column in chosen}
