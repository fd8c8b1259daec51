"""Every type that the embedded PostgreSQL can hold: how its values are made, and which of them an event may lack."""

from __future__ import annotations

import datetime
import json
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Text = SearchStrategy[str]
Rule = Literal[
    "always",
    "infinite or BC",
    "no JSON number or nested",
    "nested or NULL inside",
    "nested",
    "nested or only NULLs",
    "-",
]
"""Which values may be in `missing`; the words of the page."""

NULL = "NULL"


@dataclass(frozen=True)
class TypeSpec:
    """One type, and its array."""

    name: str
    values: Text
    missing: Rule = "-"
    in_array: Rule | None = "nested"
    """The same for its array; None where it has none."""
    unmarked: bool = False
    """Whether a long value that an update leaves as it is may be missing then."""
    unmarked_array: bool = True
    in_arrays: Text | None = None
    """The values of its arrays, where some do not survive in them."""
    group: str = "core"

    @property
    def column(self) -> str:
        return "c_" + "".join(each if each.isalnum() else "_" for each in self.name.strip('"'))


def _lines(*texts: str) -> Text:
    return st.sampled_from(texts)


def _ints(bits: int) -> Text:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(str)


_UNICODE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_TEXT = st.one_of(
    st.text(_UNICODE, max_size=20),
    _lines("", "it's", '"quoted"', "back\\slash", "null", "{}", "a,b", "🛫"),
    st.integers(2500, 3500).map(lambda n: "".join(chr(33 + (n * i * i + i) % 90) for i in range(n))),
)
_SHORT = st.text(string.ascii_letters + "äé '\"\\,", max_size=8)
_FLOATS = st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), _lines("NaN", "Infinity", "-Infinity"))
_REALS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).map(repr),
    _lines("NaN", "Infinity", "-Infinity"),
)
_COORDINATES = st.floats(-1e6, 1e6).map(repr)
_NUMERIC = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=6).map(str)
_NUMERICS = st.one_of(_NUMERIC, _lines("NaN", "Infinity", "-Infinity", "0.00", "1E+3"))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(_UNICODE, max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(_UNICODE, max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value, ensure_ascii=False))
# Days of the old calendar are moved by Debezium in snapshots and arrays; the page about concepts says so.
_DAY = st.dates(min_value=datetime.date(1600, 1, 1)).map(str)
_MOMENT = st.datetimes(min_value=datetime.datetime(1600, 1, 1)).map(str)
_ANY_DAY = st.one_of(_DAY, _lines("infinity", "-infinity", "12345-06-07"))
_ANY_MOMENT = st.one_of(_MOMENT, _lines("infinity", "-infinity", "0044-03-15 10:00:00 BC", "12345-06-07 08:09:10"))
_TIMES = st.times().map(str)  # never 24:00, which comes as 00:00
_SPANS = st.tuples(st.integers(-99, 99), st.integers(-40, 40), st.integers(-(10**11), 10**11)).map(
    lambda parts: f"{parts[0]} mons {parts[1]} days {parts[2]} us"
)
_BITS = st.text("01", min_size=12, max_size=12)
_BYTES = st.one_of(st.binary(max_size=20), st.binary(min_size=2200, max_size=2300)).map(lambda raw: f"\\x{raw.hex()}")
_HEX = "0123456789abcdef"


def _macs(count: int) -> Text:
    return st.lists(st.text(_HEX, min_size=2, max_size=2), min_size=count, max_size=count).map(":".join)


_IP4 = st.ip_addresses(v=4).map(str)
_IP6 = st.ip_addresses(v=6).map(str)
_INETS = st.one_of(_IP4, _IP6, st.tuples(_IP4, st.integers(0, 32)).map(lambda each: f"{each[0]}/{each[1]}"))


def _ranges(bound: SearchStrategy[Any], render: Callable[[Any], str] = str) -> Text:
    def written(parts: tuple[Any, Any, str, str, bool, bool]) -> str:
        low, high, left, right, no_low, no_high = parts
        low, high = sorted((low, high))
        return f"{left}{'' if no_low else render(low)},{'' if no_high else render(high)}{right}"

    made = st.tuples(bound, bound, _lines("[", "("), _lines(")", "]"), st.booleans(), st.booleans()).map(written)
    return st.one_of(made, st.just("empty"))


def _multi(ranges: Text, many: Callable[[int], str] | None = None) -> Text:
    short = st.lists(ranges, max_size=3).map(lambda each: "{" + ",".join(each) + "}")
    if many is None:
        return short
    long = st.integers(300, 400).map(lambda count: "{" + ",".join(many(n) for n in range(count)) + "}")
    return st.one_of(short, short, long)


_dates, _datetimes = st.dates(), st.datetimes()
_DECIMALS = st.decimals(-1000, 1000, places=3)
_QUOTED: Callable[[Any], str] = '"{}"'.format
_INT_RANGES = _ranges(st.integers(-(2**30), 2**30))
_BIG_RANGES = _ranges(st.integers(-(2**60), 2**60))
_NUM_RANGES = _ranges(_DECIMALS)
_DATE_RANGES = _ranges(_dates)
_TS_RANGES = _ranges(_datetimes, _QUOTED)
_TSTZ_RANGES = _ranges(_datetimes, '"{}+02"'.format)
_POINTS = st.tuples(_COORDINATES, _COORDINATES).map(lambda p: f"({p[0]},{p[1]})")


def _joined(least: int, most: int, form: str, long: bool = False) -> Text:
    short = st.lists(_POINTS, min_size=least, max_size=most).map(lambda points: form.format(",".join(points)))
    if not long:
        return short
    many = st.integers(150, 200).map(lambda count: form.format(",".join(f"({n}.5,{n * n})" for n in range(count))))
    return st.one_of(short, short, many)


_LABELS = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=6)
_LTREES = st.one_of(
    st.lists(_LABELS, max_size=4).map(".".join),
    st.integers(400, 500).map(lambda n: ".".join(f"label{n * i}" for i in range(n))),
)
_LEXEMES = st.lists(_LABELS.map("'{}':1".format), max_size=4, unique=True).map(" ".join)
_QUERIES = st.lists(_LABELS.map("'{}'".format), max_size=3).map(" & ".join)
_PAIRS = st.dictionaries(_SHORT, st.one_of(st.none(), _SHORT), max_size=3)
_LONG_PAIRS = st.integers(200, 250).map(lambda n: {f"key{i * n}": f"value{i * i * n}" for i in range(n)})


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_HSTORES = st.one_of(_PAIRS, _PAIRS, _LONG_PAIRS).map(
    lambda pairs: ", ".join(f"{_quote(k)}=>{NULL if v is None else _quote(v)}" for k, v in pairs.items())
)
_SHORT_HSTORES = _PAIRS.map(
    lambda pairs: ", ".join(f"{_quote(k)}=>{NULL if v is None else _quote(v)}" for k, v in pairs.items())
)
_SMALL = st.floats(-1e10, 1e10, width=32).map(lambda value: 0.0 if abs(value) < 1e-20 else value)
_VECTORS = st.lists(_SMALL.map(repr), min_size=3, max_size=3).map(lambda each: f"[{','.join(each)}]")
_ANY_VECTORS = st.one_of(
    _VECTORS, st.integers(1, 9).map(lambda k: "[" + ",".join(f"{n / k}" for n in range(700)) + "]")
)
_HALVES = st.lists(st.floats(-1000, 1000, width=16).map(repr), min_size=3, max_size=3).map(lambda e: f"[{','.join(e)}]")
_SPARSE = st.dictionaries(st.integers(1, 9), _SMALL.filter(bool).map(repr), max_size=4).map(
    lambda each: "{" + ",".join(f"{k}:{v}" for k, v in sorted(each.items())) + "}/9"
)
_MOODS = _lines("sad", "it''s ok".replace("''", "'"))


def _field(value: str | None) -> str:
    return "" if value is None else _quote(value)


_PLACES = st.tuples(
    st.one_of(st.none(), _ints(32)),
    st.one_of(st.none(), _SHORT, _TEXT),
    st.one_of(st.none(), _ANY_DAY),
    st.one_of(st.none(), _ANY_MOMENT),
    st.one_of(st.none(), _NUMERICS),
    st.one_of(st.none(), _lines("{1,NULL,3}", "{}", "{{1,2},{3,4}}")),
    st.one_of(st.none(), _MOODS),
    st.one_of(st.none(), _lines("12:34:56+02", "24:00:00-05")),
    st.one_of(st.none(), st.tuples(_ints(32), _SHORT).map(lambda each: f"({each[0]},{_quote(each[1])})")),
).map(lambda fields: "(" + ",".join(map(_field, fields)) + ")")

ALWAYS: Rule = "always"
NUMBERS: Rule = "no JSON number or nested"
INSIDE: Rule = "nested or NULL inside"
ONLY: Rule = "nested or only NULLs"
INFINITE: Rule = "infinite or BC"


def _hidden(name: str, values: Text, group: str = "core", *, unmarked: bool = True, **more: Any) -> TypeSpec:
    """A type whose arrays come whole, or as null."""
    return TypeSpec(name, values, in_array=INSIDE, unmarked=unmarked, group=group, **more)


TYPES: Sequence[TypeSpec] = (
    TypeSpec("boolean", _lines("true", "false"), in_array=ONLY, group="numbers"),
    TypeSpec("int2", _ints(16), in_array=ONLY, group="numbers"),
    TypeSpec("int4", _ints(32), in_array=ONLY, unmarked_array=False, group="numbers"),
    TypeSpec("int8", _ints(64), in_array=ONLY, unmarked_array=False, group="numbers"),
    TypeSpec("oid", st.integers(0, 2**32 - 1).map(str), in_array=ONLY, group="numbers"),
    TypeSpec("real", _REALS, in_array=ONLY, group="numbers"),
    TypeSpec("float8", _FLOATS, in_array=ONLY, group="numbers"),
    TypeSpec("numeric", _NUMERICS, in_array=NUMBERS, group="numbers"),
    TypeSpec("numeric(10, 2)", st.decimals(-(10**7), 10**7, places=2).map(str), in_array=NUMBERS, group="numbers"),
    TypeSpec("numeric(5, -2)", _lines("12300", "0"), missing=ALWAYS, in_array=NUMBERS, group="numbers"),
    TypeSpec("money", st.decimals(-(10**12), 10**12, places=2).map(str), in_array=ALWAYS, group="numbers"),
    TypeSpec("text", _TEXT, unmarked_array=False, group="texts"),
    TypeSpec("varchar(40)", st.text(_UNICODE, max_size=40), unmarked_array=False, group="texts"),
    TypeSpec("char(5)", st.text(string.ascii_letters, max_size=5), unmarked_array=False, group="texts"),
    TypeSpec('"char"', _lines("a", "", "~"), group="texts"),
    TypeSpec("name", _SHORT, in_array=ALWAYS, group="texts"),
    TypeSpec("uuid", st.uuids().map(str), unmarked_array=False, group="texts"),
    TypeSpec("mood", _MOODS, in_array=INSIDE, group="texts"),
    TypeSpec("json", _JSON, unmarked_array=False, group="texts"),
    TypeSpec("jsonb", _JSON, unmarked_array=False, group="texts"),
    TypeSpec(
        "bytea",
        _BYTES,
        in_array=ONLY,
        unmarked=True,
        group="texts",
        in_arrays=st.binary(max_size=9).map(lambda b: f"\\x{b.hex()}"),
    ),
    TypeSpec("date", _ANY_DAY, INFINITE, in_array=ONLY, group="times", in_arrays=_DAY),
    TypeSpec("time", _TIMES, in_array=ALWAYS, group="times"),
    TypeSpec("timetz", _lines("12:34:56.5+02", "00:00:00Z"), ALWAYS, in_array=ALWAYS, group="times"),
    TypeSpec("timestamp", _ANY_MOMENT, INFINITE, in_array=ONLY, group="times", in_arrays=_MOMENT),
    TypeSpec("timestamptz", _ANY_MOMENT, in_array=ONLY, group="times", in_arrays=_MOMENT),
    TypeSpec("interval", _SPANS, in_array=ALWAYS, group="times"),
    TypeSpec("bit(12)", _BITS, in_array=ALWAYS, unmarked=True, group="bits"),
    TypeSpec("bit(1)", _lines("0", "1"), in_array=ALWAYS, group="bits"),
    TypeSpec("varbit", st.text("01", max_size=30), ALWAYS, in_array=ALWAYS, group="bits"),
    TypeSpec("inet", _INETS, group="network"),
    TypeSpec("cidr", st.one_of(_IP4, _IP6), group="network"),
    TypeSpec("macaddr", _macs(6), group="network"),
    TypeSpec("macaddr8", _macs(8), group="network"),
    TypeSpec("int4range", _INT_RANGES, group="ranges"),
    TypeSpec("int8range", _BIG_RANGES, group="ranges"),
    TypeSpec("numrange", _NUM_RANGES, group="ranges"),
    TypeSpec("daterange", _DATE_RANGES, group="ranges"),
    TypeSpec("tsrange", _TS_RANGES, group="ranges"),
    TypeSpec("tstzrange", _TSTZ_RANGES, group="ranges"),
    _hidden("int4multirange", _multi(_INT_RANGES, lambda n: f"[{n * 9},{n * 9 + 1 + n % 7})"), "multiranges"),
    _hidden("int8multirange", _multi(_BIG_RANGES), "multiranges"),
    _hidden("nummultirange", _multi(_NUM_RANGES), "multiranges"),
    _hidden("datemultirange", _multi(_DATE_RANGES), "multiranges"),
    _hidden("tsmultirange", _multi(_TS_RANGES), "multiranges"),
    _hidden("tstzmultirange", _multi(_TSTZ_RANGES), "multiranges"),
    _hidden("span", _ranges(_COORDINATES.map(float)), "multiranges"),
    TypeSpec("point", st.one_of(_POINTS, st.just("(NaN,-Infinity)")), in_array=ALWAYS, group="geometry"),
    TypeSpec("line", _lines("{1,2,3}", "{0.1,-1,1e300}", "{0,1,-0.5}"), in_array=ALWAYS, group="geometry"),
    TypeSpec("lseg", _joined(2, 2, "[{}]"), in_array=ALWAYS, group="geometry"),
    TypeSpec("box", _joined(2, 2, "{}"), in_array=ALWAYS, group="geometry"),
    TypeSpec(
        "path",
        st.one_of(_joined(1, 4, "[{}]", True), _joined(1, 4, "({})")),
        in_array=ALWAYS,
        unmarked=True,
        group="geometry",
    ),
    TypeSpec("polygon", _joined(1, 4, "({})", True), in_array=ALWAYS, unmarked=True, group="geometry"),
    TypeSpec(
        "circle",
        st.tuples(_POINTS, st.floats(0, 1e6)).map(lambda c: f"<{c[0]},{c[1]!r}>"),
        in_array=ALWAYS,
        group="geometry",
    ),
    TypeSpec("tsvector", _LEXEMES, in_array=INSIDE, group="search"),
    _hidden("tsquery", _QUERIES, "search"),
    _hidden("jsonpath", _lines("$.a[*]?(@.b > 1)", "lax $", "strict $.x.y"), "search"),
    _hidden("xid", st.integers(0, 2**32 - 1).map(str), "system"),
    _hidden("xid8", st.integers(0, 2**63).map(str), "system"),
    _hidden("cid", st.integers(0, 2**32 - 1).map(str), "system"),
    _hidden("tid", _lines("(0,1)", "(77,3)"), "system"),
    _hidden("pg_lsn", _lines("16/B374D848", "0/0"), "system"),
    _hidden("pg_snapshot", _lines("10:20:10,14", "10:10:"), "system"),
    _hidden("txid_snapshot", _lines("10:20:10,14", "10:10:"), "system"),
    _hidden("regclass", _lines("pg_class", "pg_type"), "system"),
    _hidden("regtype", _lines("integer", "text"), "system"),
    _hidden("regproc", _lines("now", "pi"), "system"),
    _hidden("regprocedure", _lines("now()", "pi()"), "system"),
    _hidden("regoper", _lines("|/"), "system"),
    _hidden("regoperator", _lines("+(integer,integer)"), "system"),
    _hidden("regrole", _lines("pg_monitor"), "system"),
    _hidden("regnamespace", _lines("pg_catalog", "public"), "system"),
    _hidden("regconfig", _lines("english", "simple"), "system"),
    _hidden("regdictionary", _lines("simple"), "system"),
    _hidden("regcollation", _lines('"C"'), "system"),
    TypeSpec("refcursor", _lines("portal"), ALWAYS, in_array=ALWAYS, group="system"),
    TypeSpec("aclitem", _lines("=r/postgres"), ALWAYS, in_array=ALWAYS, group="system"),
    TypeSpec("int2vector", _lines("1 2", ""), ALWAYS, in_array=ALWAYS, group="system"),
    TypeSpec("oidvector", _lines("1 2", ""), ALWAYS, in_array=ALWAYS, group="system"),
    TypeSpec("hstore", _HSTORES, in_array=ONLY, group="extensions", in_arrays=_SHORT_HSTORES),
    TypeSpec(
        "ltree", _LTREES, in_array=INSIDE, group="extensions", in_arrays=st.lists(_LABELS, max_size=4).map(".".join)
    ),
    _hidden("lquery", _lines("*.a.*", "a|b.c"), "extensions"),
    _hidden("ltxtquery", _lines("a & b", "a"), "extensions"),
    TypeSpec("citext", _TEXT, in_array=ONLY, group="extensions", in_arrays=_SHORT),
    TypeSpec("isbn", _lines("0-306-40615-2", "3-16-148410-X"), in_array=INSIDE, group="extensions"),
    _hidden("isbn13", _lines("978-0-306-40615-7"), "extensions"),
    _hidden("issn", _lines("1436-4522"), "extensions"),
    _hidden("issn13", _lines("977-1436-452-00-8"), "extensions"),
    _hidden("ismn", _lines("M-2306-7118-7"), "extensions"),
    _hidden("ismn13", _lines("979-0-2306-7118-7"), "extensions"),
    _hidden("ean13", _lines("978-0-306-40615-7"), "extensions"),
    _hidden("upc", _lines("220356483481"), "extensions"),
    _hidden("cube", _lines("(1,2),(3,4)", "(0.5)"), "extensions"),
    _hidden("seg", _lines("1 .. 2", "1.50"), "extensions"),
    TypeSpec("vector", _ANY_VECTORS, in_array=ALWAYS, unmarked=True, group="vectors"),
    TypeSpec("vector(3)", _VECTORS, in_array=ALWAYS, unmarked=True, group="vectors"),
    TypeSpec("halfvec(3)", _HALVES, in_array=ALWAYS, unmarked=True, group="vectors"),
    TypeSpec("sparsevec(9)", _SPARSE, in_array=ALWAYS, unmarked=True, group="vectors"),
    _hidden("place", _PLACES, "own"),
    TypeSpec("price", st.decimals(-1000, 1000, places=2).map(str), in_array=ALWAYS, group="own"),
    TypeSpec("nick", _SHORT, in_array=ALWAYS, group="own"),
    TypeSpec("tags", _lines("{a,b}", "{}"), in_array=ALWAYS, group="own"),
    _hidden("home", _PLACES, "own", unmarked_array=True),
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
    value = (spec.values if spec.in_arrays is None else spec.in_arrays).filter(lambda text: len(text) < 200).map(_quote)
    flat = st.lists(st.one_of(value, value, value, st.just(NULL)), max_size=4).map(delimiter.join)
    nested = st.lists(value, min_size=1, max_size=3).map(lambda each: delimiter.join(f"{{{text}}}" for text in each))
    return st.one_of(flat, flat, flat, nested, st.just(NULL)).map("{{{}}}".format)


def tables() -> dict[str, list[tuple[str, TypeSpec, bool]]]:
    """By table the columns: name, type, and whether it is an array."""
    found: dict[str, list[tuple[str, TypeSpec, bool]]] = {}
    for spec in TYPES:
        found.setdefault(f"public.{spec.group}", []).append((spec.column, spec, False))
        found.setdefault(f"public.{spec.group}_lists", []).append((spec.column, spec, True))
    return found


def ddl() -> str:
    """All tables."""
    return DDL + ";".join(
        f"create table {label} (id int primary key, "
        + ", ".join(f"{name} {spec.name}{'[]' if array else ''}" for name, spec, array in columns)
        + ")"
        for label, columns in tables().items()
    )
