"""Every type that the embedded PostgreSQL can hold: how its values are made, and which of them an event may lack."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st

from tests.harness import type_values as values
from tests.harness.type_values import Text

Rule = Literal[
    "always",
    "infinite or BC",
    "no JSON number, nested or only NULLs",
    "nested or NULL inside",
    "nested",
    "nested or only NULLs",
    "-",
]
"""Which values may be in `missing`; the words of the page."""


@dataclass(frozen=True)
class TypeSpec:
    """One type, and its array."""

    name: str
    made: Text
    missing: Rule = "-"
    in_array: Rule | None = "nested"
    """The same for its array; None where it has none."""
    unmarked: bool = False
    """Whether a value that may be out of line is missing when null comes after it."""
    encoded: bool = False
    """Whether it comes as text, of which nobody knows how long it is stored."""
    unmarked_array: bool = True
    in_arrays: Text | None = None
    """The values of its arrays, where some do not survive in them."""
    group: str = "core"

    @property
    def column(self) -> str:
        return "c_" + "".join(each if each.isalnum() else "_" for each in self.name.strip('"'))


ALWAYS: Rule = "always"
NUMBERS: Rule = "no JSON number, nested or only NULLs"
INSIDE: Rule = "nested or NULL inside"
ONLY: Rule = "nested or only NULLs"
INFINITE: Rule = "infinite or BC"


def _hidden(name: str, made: Text, group: str = "core", *, unmarked: bool = True, **more: Any) -> TypeSpec:
    """A type whose arrays come whole, or as null."""
    return TypeSpec(name, made, in_array=INSIDE, unmarked=unmarked, encoded=True, group=group, **more)


TYPES: Sequence[TypeSpec] = (
    TypeSpec("boolean", values.lines("true", "false"), in_array=ONLY, group="numbers"),
    TypeSpec("int2", values.ints(16), in_array=ONLY, group="numbers"),
    TypeSpec("int4", values.ints(32), in_array=ONLY, unmarked_array=False, group="numbers"),
    TypeSpec("int8", values.ints(64), in_array=ONLY, unmarked_array=False, group="numbers"),
    TypeSpec("oid", st.integers(0, 2**32 - 1).map(str), in_array=ONLY, group="numbers"),
    TypeSpec("real", values.REALS, in_array=ONLY, group="numbers"),
    TypeSpec("float8", values.FLOATS, in_array=ONLY, group="numbers"),
    TypeSpec("numeric", values.NUMERICS, in_array=NUMBERS, group="numbers"),
    TypeSpec("numeric(10, 2)", st.decimals(-(10**7), 10**7, places=2).map(str), in_array=NUMBERS, group="numbers"),
    TypeSpec("numeric(5, -2)", values.lines("12300", "0"), missing=ALWAYS, in_array=NUMBERS, group="numbers"),
    TypeSpec("money", st.decimals(-(10**12), 10**12, places=2).map(str), in_array=ALWAYS, group="numbers"),
    TypeSpec("text", values.TEXT, unmarked_array=False, group="texts"),
    TypeSpec(
        "varchar(40)",
        st.one_of(st.text(values.UNICODE, max_size=40), values.DIGITS),
        unmarked_array=False,
        group="texts",
    ),
    TypeSpec("char(30)", st.text(string.ascii_letters, max_size=30), unmarked_array=False, group="texts"),
    TypeSpec('"char"', values.lines("a", "", "~"), group="texts"),
    TypeSpec("name", values.SHORT, in_array=ALWAYS, group="texts"),
    TypeSpec("uuid", st.uuids().map(str), unmarked_array=False, group="texts"),
    TypeSpec("mood", values.MOODS, in_array=INSIDE, group="texts"),
    TypeSpec("json", values.JSON, unmarked_array=False, group="texts"),
    TypeSpec("jsonb", values.JSON, unmarked_array=False, group="texts"),
    TypeSpec(
        "bytea",
        values.BYTES,
        in_array=ONLY,
        unmarked=True,
        group="texts",
        in_arrays=st.binary(max_size=9).map(lambda b: f"\\x{b.hex()}"),
    ),
    TypeSpec("date", values.ANY_DAY, INFINITE, in_array=ONLY, group="times", in_arrays=values.DAY),
    TypeSpec("time", values.TIMES, in_array=ALWAYS, group="times"),
    TypeSpec("timetz", values.lines("12:34:56.5+02", "00:00:00Z"), ALWAYS, in_array=ALWAYS, group="times"),
    TypeSpec("timestamp", values.ANY_MOMENT, INFINITE, in_array=ONLY, group="times", in_arrays=values.MOMENT),
    TypeSpec("timestamptz", values.ANY_MOMENT, in_array=ONLY, group="times", in_arrays=values.MOMENT),
    TypeSpec("interval", values.SPANS, in_array=ALWAYS, group="times"),
    TypeSpec("bit(300)", values.BITS, in_array=ALWAYS, unmarked=True, group="bits"),
    TypeSpec("bit(1)", values.lines("0", "1"), in_array=ALWAYS, group="bits"),
    TypeSpec("varbit", st.text("01", max_size=30), ALWAYS, in_array=ALWAYS, group="bits"),
    TypeSpec("inet", values.INETS, group="network"),
    TypeSpec("cidr", st.one_of(values.IP4, values.IP6), group="network"),
    TypeSpec("macaddr", values.macs(6), group="network"),
    TypeSpec("macaddr8", values.macs(8), group="network"),
    TypeSpec("int4range", values.INT_RANGES, group="ranges"),
    TypeSpec("int8range", values.BIG_RANGES, group="ranges"),
    TypeSpec("numrange", values.NUM_RANGES, group="ranges"),
    TypeSpec("daterange", values.DATE_RANGES, group="ranges"),
    TypeSpec("tsrange", values.TS_RANGES, group="ranges"),
    TypeSpec("tstzrange", values.TSTZ_RANGES, group="ranges"),
    _hidden(
        "int4multirange", values.multi(values.INT_RANGES, lambda n: f"[{n * 9},{n * 9 + 1 + n % 7})"), "multiranges"
    ),
    _hidden("int8multirange", values.multi(values.BIG_RANGES), "multiranges"),
    _hidden("nummultirange", values.multi(values.NUM_RANGES), "multiranges"),
    _hidden("datemultirange", values.multi(values.DATE_RANGES), "multiranges"),
    _hidden("tsmultirange", values.multi(values.TS_RANGES), "multiranges"),
    _hidden("tstzmultirange", values.multi(values.TSTZ_RANGES), "multiranges"),
    _hidden("span", values.ranges(values.COORDINATES.map(float)), "multiranges"),
    TypeSpec("point", st.one_of(values.POINTS, st.just("(NaN,-Infinity)")), in_array=ALWAYS, group="geometry"),
    TypeSpec("line", values.lines("{1,2,3}", "{0.1,-1,1e300}", "{0,1,-0.5}"), in_array=ALWAYS, group="geometry"),
    TypeSpec("lseg", values.joined(2, 2, "[{}]"), in_array=ALWAYS, group="geometry"),
    TypeSpec("box", values.joined(2, 2, "{}"), in_array=ALWAYS, group="geometry"),
    TypeSpec(
        "path",
        st.one_of(values.joined(1, 4, "[{}]", True), values.joined(1, 4, "({})")),
        in_array=ALWAYS,
        unmarked=True,
        group="geometry",
    ),
    TypeSpec("polygon", values.joined(1, 4, "({})", True), in_array=ALWAYS, unmarked=True, group="geometry"),
    TypeSpec(
        "circle",
        st.tuples(values.POINTS, st.floats(0, 1e6)).map(lambda c: f"<{c[0]},{c[1]!r}>"),
        in_array=ALWAYS,
        group="geometry",
    ),
    TypeSpec("tsvector", values.LEXEMES, in_array=INSIDE, group="search"),
    _hidden("tsquery", values.QUERIES, "search"),
    _hidden("jsonpath", values.lines("$.a[*]?(@.b > 1)", "lax $", "strict $.x.y"), "search"),
    _hidden("xid", st.integers(0, 2**32 - 1).map(str), "system"),
    _hidden("xid8", st.integers(0, 2**63).map(str), "system"),
    _hidden("cid", st.integers(0, 2**32 - 1).map(str), "system"),
    _hidden("tid", values.lines("(0,1)", "(77,3)"), "system"),
    _hidden("pg_lsn", values.lines("16/B374D848", "0/0"), "system"),
    _hidden("pg_snapshot", values.lines("10:20:10,14", "10:10:"), "system"),
    _hidden("txid_snapshot", values.lines("10:20:10,14", "10:10:"), "system"),
    _hidden("regclass", values.lines("pg_class", "pg_type"), "system"),
    _hidden("regtype", values.lines("integer", "text"), "system"),
    _hidden("regproc", values.lines("now", "pi"), "system"),
    _hidden("regprocedure", values.lines("now()", "pi()"), "system"),
    _hidden("regoper", values.lines("|/"), "system"),
    _hidden("regoperator", values.lines("+(integer,integer)"), "system"),
    _hidden("regrole", values.lines("pg_monitor"), "system"),
    _hidden("regnamespace", values.lines("pg_catalog", "public"), "system"),
    _hidden("regconfig", values.lines("english", "simple"), "system"),
    _hidden("regdictionary", values.lines("simple"), "system"),
    _hidden("regcollation", values.lines('"C"'), "system"),
    TypeSpec("aclitem", values.lines("=r/postgres"), ALWAYS, in_array=ALWAYS, group="system"),
    TypeSpec("int2vector", values.lines("1 2", ""), ALWAYS, in_array=ALWAYS, group="system"),
    TypeSpec("oidvector", values.lines("1 2", ""), ALWAYS, in_array=ALWAYS, group="system"),
    TypeSpec("hstore", values.HSTORES, in_array=ONLY, group="extensions", in_arrays=values.SHORT_HSTORES),
    TypeSpec(
        "ltree",
        values.LTREES,
        in_array=INSIDE,
        group="extensions",
        in_arrays=values.SHORT_LTREES,
    ),
    _hidden("lquery", values.lines("*.a.*", "a|b.c"), "extensions"),
    _hidden("ltxtquery", values.lines("a & b", "a"), "extensions"),
    TypeSpec("citext", values.TEXT, in_array=ONLY, group="extensions", in_arrays=values.SHORT),
    TypeSpec("isbn", values.lines("0-306-40615-2", "3-16-148410-X"), in_array=INSIDE, group="extensions"),
    _hidden("isbn13", values.lines("978-0-306-40615-7"), "extensions"),
    _hidden("issn", values.lines("1436-4522"), "extensions"),
    _hidden("issn13", values.lines("977-1436-452-00-8"), "extensions"),
    _hidden("ismn", values.lines("M-2306-7118-7"), "extensions"),
    _hidden("ismn13", values.lines("979-0-2306-7118-7"), "extensions"),
    _hidden("ean13", values.lines("978-0-306-40615-7"), "extensions"),
    _hidden("upc", values.lines("220356483481"), "extensions"),
    _hidden("cube", values.lines("(1,2),(3,4)", "(0.5)", "(1,2,3,4.5,6),(5,6,7,8,9)"), "extensions"),
    _hidden("seg", values.lines("1 .. 2", "1.50"), "extensions"),
    TypeSpec("vector", values.ANY_VECTORS, in_array=ALWAYS, unmarked=True, group="vectors"),
    TypeSpec("vector(3)", values.VECTORS, in_array=ALWAYS, unmarked=True, group="vectors"),
    TypeSpec("halfvec(3)", values.HALVES, in_array=ALWAYS, unmarked=True, group="vectors"),
    TypeSpec("sparsevec(9)", values.SPARSE, in_array=ALWAYS, unmarked=True, group="vectors"),
    _hidden("place", values.PLACES, "own"),
    TypeSpec("price", st.decimals(-1000, 1000, places=2).map(str), in_array=ALWAYS, group="own"),
    TypeSpec("nick", st.one_of(values.SHORT, values.DIGITS), in_array=ALWAYS, group="own"),
    TypeSpec("tags", values.lines("{a,b}", "{}"), in_array=ALWAYS, unmarked=True, group="own"),
    _hidden("home", values.PLACES, "own", unmarked_array=True),
)

# What stands beside a domain: its array is one of values that nobody names.
_DOMAIN_ARRAYS = {"home": "always"}

DDL = """
    create extension hstore; create extension ltree; create extension citext; create extension isn;
    create extension vector; create extension cube; create extension seg;
    create type mood as enum ('sad', 'it''s ok');
    create type pair as (n int, t text);
    create type place as (
        whole int, word text, day date, at timestamptz, amount numeric, list int[], feel mood, clock timetz,
        inner_pair pair
    );
    create type span as range (subtype = float8);
    create domain price as numeric(10, 2); create domain nick as citext; create domain tags as text[];
    create domain home as place;
"""
EXTENSIONS = ("hstore", "ltree", "citext", "isn", "vector", "cube", "seg")


def in_array(spec: TypeSpec) -> Rule:
    """Which arrays of a type an event may not know."""
    return _DOMAIN_ARRAYS.get(spec.name, spec.in_array) or "always"  # pyright: ignore[reportReturnType]


def arrays(spec: TypeSpec) -> Text:
    """Array literals: empty ones, with NULLs, with NULLs only, and of two dimensions."""
    delimiter = ";" if spec.name == "box" else ","
    made = spec.made if spec.in_arrays is None else spec.in_arrays
    value = made.filter(lambda text: len(text) < 200).map(values.quote)
    flat = st.lists(st.one_of(value, value, value, st.just(values.NULL)), max_size=4).map(delimiter.join)
    nested = st.lists(value, min_size=1, max_size=3).map(lambda each: delimiter.join(f"{{{text}}}" for text in each))
    return st.one_of(flat, flat, flat, nested, st.just(values.NULL)).map("{{{}}}".format)


def tables() -> dict[str, list[tuple[str, TypeSpec, bool]]]:
    """By table the columns: name, type, and whether it is an array."""
    found: dict[str, list[tuple[str, TypeSpec, bool]]] = {}
    for spec in TYPES:
        found.setdefault(f"public.{spec.group}", []).append((spec.column, spec, False))
        found.setdefault(f"public.{spec.group}_lists", []).append((spec.column, spec, True))
    return found


def ddl() -> str:
    """All tables. Where a row's `filler` is long, every value of more than 24 bytes that can is stored out of line.

    For then the row is too long at first, and the names, which stay in it, are longer than it should get.
    """
    return DDL + ";".join(
        f"create table {label} (id int primary key, filler text, stay name default '', here name default '', "
        + ", ".join(f"{name} {spec.name}{'[]' if array else ''}" for name, spec, array in columns)
        + ") with (toast_tuple_target = 128)"
        for label, columns in tables().items()
    )
