"""Random values of every type, as PostgreSQL reads them."""

from __future__ import annotations

import datetime
import json
import string
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Text = SearchStrategy[str]
NULL = "NULL"


def lines(*texts: str) -> Text:
    return st.sampled_from(texts)


def ints(bits: int) -> Text:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).map(str)


UNICODE = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXT = st.one_of(
    st.text(UNICODE, max_size=20),
    lines("", "it's", '"quoted"', "back\\slash", "null", "{}", "a,b", "🛫"),
    st.integers(2500, 3500).map(lambda n: "".join(chr(33 + (n * i * i + i) % 90) for i in range(n))),
)
DIGITS = st.text(string.digits, min_size=30, max_size=40)
SHORT = st.text(string.ascii_letters + "äé '\"\\,", max_size=8)
FLOATS = st.one_of(st.floats(allow_nan=False, allow_infinity=False).map(repr), lines("NaN", "Infinity", "-Infinity"))
REALS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False, allow_subnormal=False).map(repr),
    lines("NaN", "Infinity", "-Infinity"),
)
COORDINATES = st.floats(-1e6, 1e6).map(repr)
NUMERIC = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=6).map(str)
NUMERICS = st.one_of(NUMERIC, lines("NaN", "Infinity", "-Infinity", "0.00", "1E+3"))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), st.text(UNICODE, max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(UNICODE, max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
).map(lambda value: json.dumps(value, ensure_ascii=False))
# Days of the old calendar are moved by Debezium in snapshots and arrays; the page about concepts says so.
DAY = st.dates(min_value=datetime.date(1600, 1, 1)).map(str)
MOMENT = st.datetimes(min_value=datetime.datetime(1600, 1, 1)).map(str)
ANY_DAY = st.one_of(DAY, lines("infinity", "-infinity", "12345-06-07"))
ANY_MOMENT = st.one_of(MOMENT, lines("infinity", "-infinity", "0044-03-15 10:00:00 BC", "12345-06-07 08:09:10"))
TIMES = st.times().map(str)  # never 24:00, which comes as 00:00
SPANS = st.tuples(st.integers(-99, 99), st.integers(-40, 40), st.integers(-(10**11), 10**11)).map(
    lambda parts: f"{parts[0]} mons {parts[1]} days {parts[2]} us"
)
BITS = st.text("01", min_size=300, max_size=300)
BYTES = st.one_of(st.binary(max_size=20), st.binary(min_size=2200, max_size=2300)).map(lambda raw: f"\\x{raw.hex()}")
HEX = "0123456789abcdef"


def macs(count: int) -> Text:
    return st.lists(st.text(HEX, min_size=2, max_size=2), min_size=count, max_size=count).map(":".join)


IP4 = st.ip_addresses(v=4).map(str)
IP6 = st.ip_addresses(v=6).map(str)
INETS = st.one_of(IP4, IP6, st.tuples(IP4, st.integers(0, 32)).map(lambda each: f"{each[0]}/{each[1]}"))


def ranges(bound: SearchStrategy[Any], render: Callable[[Any], str] = str) -> Text:
    def written(parts: tuple[Any, Any, str, str, bool, bool]) -> str:
        low, high, left, right, no_low, no_high = parts
        low, high = sorted((low, high))
        return f"{left}{'' if no_low else render(low)},{'' if no_high else render(high)}{right}"

    made = st.tuples(bound, bound, lines("[", "("), lines(")", "]"), st.booleans(), st.booleans()).map(written)
    return st.one_of(made, st.just("empty"))


def multi(ranges: Text, many: Callable[[int], str] | None = None) -> Text:
    short = st.lists(ranges, max_size=3).map(lambda each: "{" + ",".join(each) + "}")
    if many is None:
        return short
    long = st.integers(300, 400).map(lambda count: "{" + ",".join(many(n) for n in range(count)) + "}")
    return st.one_of(short, short, long)


dates, datetimes = st.dates(), st.datetimes()
DECIMALS = st.decimals(-1000, 1000, places=3)
QUOTED: Callable[[Any], str] = '"{}"'.format
INT_RANGES = ranges(st.integers(-(2**30), 2**30))
BIG_RANGES = ranges(st.integers(-(2**60), 2**60))
NUM_RANGES = st.one_of(ranges(DECIMALS), lines(f"[0.{'123' * 20},{'9876' * 20}.5)"))
DATE_RANGES = ranges(dates)
TS_RANGES = ranges(datetimes, QUOTED)
TSTZ_RANGES = ranges(datetimes, '"{}+02"'.format)
POINTS = st.tuples(COORDINATES, COORDINATES).map(lambda p: f"({p[0]},{p[1]})")


def joined(least: int, most: int, form: str, long: bool = False) -> Text:
    short = st.lists(POINTS, min_size=least, max_size=most).map(lambda points: form.format(",".join(points)))
    if not long:
        return short
    many = st.integers(150, 200).map(lambda count: form.format(",".join(f"({n}.5,{n * n})" for n in range(count))))
    return st.one_of(short, short, many)


LABELS = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=6)
SHORT_LTREES = st.lists(LABELS, max_size=4).map(".".join)
LTREES = st.one_of(
    SHORT_LTREES,
    st.integers(400, 500).map(lambda n: ".".join(f"label{n * i}" for i in range(n))),
)
LEXEMES = st.lists(LABELS.map("'{}':1".format), max_size=12, unique=True).map(" ".join)
QUERIES = st.lists(LABELS.map("'{}'".format), max_size=9).map(" & ".join)
PAIRS = st.dictionaries(SHORT, st.one_of(st.none(), SHORT), max_size=3)
LONG_PAIRS = st.integers(200, 250).map(lambda n: {f"key{i * n}": f"value{i * i * n}" for i in range(n)})


def quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


HSTORES = st.one_of(PAIRS, PAIRS, LONG_PAIRS).map(
    lambda pairs: ", ".join(f"{quote(k)}=>{NULL if v is None else quote(v)}" for k, v in pairs.items())
)
SHORT_HSTORES = PAIRS.map(
    lambda pairs: ", ".join(f"{quote(k)}=>{NULL if v is None else quote(v)}" for k, v in pairs.items())
)
SMALL = st.floats(-1e10, 1e10, width=32).map(lambda value: 0.0 if abs(value) < 1e-20 else value)
VECTORS = st.lists(SMALL.map(repr), min_size=3, max_size=3).map(lambda each: f"[{','.join(each)}]")
ANY_VECTORS = st.one_of(VECTORS, st.integers(1, 9).map(lambda k: "[" + ",".join(f"{n / k}" for n in range(700)) + "]"))
HALVES = st.lists(st.floats(-1000, 1000, width=16).map(repr), min_size=3, max_size=3).map(lambda e: f"[{','.join(e)}]")
SPARSE = st.dictionaries(st.integers(1, 9), SMALL.filter(bool).map(repr), max_size=4).map(
    lambda each: "{" + ",".join(f"{k}:{v}" for k, v in sorted(each.items())) + "}/9"
)
MOODS = lines("sad", "it''s ok".replace("''", "'"))


def field(value: str | None) -> str:
    return "" if value is None else quote(value)


PLACES = st.tuples(
    st.one_of(st.none(), ints(32)),
    st.one_of(st.none(), SHORT, TEXT),
    st.one_of(st.none(), ANY_DAY),
    st.one_of(st.none(), ANY_MOMENT),
    st.one_of(st.none(), NUMERICS),
    st.one_of(st.none(), lines("{1,NULL,3}", "{}", "{{1,2},{3,4}}")),
    st.one_of(st.none(), MOODS),
    st.one_of(st.none(), lines("12:34:56+02", "24:00:00-05")),
    st.one_of(st.none(), st.tuples(ints(32), SHORT).map(lambda each: f"({each[0]},{quote(each[1])})")),
).map(lambda fields: "(" + ",".join(map(field, fields)) + ")")
INT_MULTIRANGES = multi(INT_RANGES, lambda n: f"[{n * 9},{n * 9 + 1 + n % 7})")
