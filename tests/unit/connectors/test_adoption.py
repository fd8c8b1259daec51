"""Another's connector judged by its settings: what cannot be read, what is lost, and which setting would give it."""

from __future__ import annotations

from typing import Any, cast

import pytest

from connectors import adopted_sample, adopted_values, adoption, patterns
from connectors.adopted_values import JSON
from connectors.connector_config import CLASS
from connectors.databases import Connection
from wakestream.capture import Capture, CapturedTable
from wakestream.catalogue import Catalogue, Column, Table

COLUMNS = (
    Column("id", "integer", "int4", not_null=True),
    Column("name", "text", "text"),
    Column("fare", "numeric(10,2)", "numeric", not_null=True),
    Column("free", "numeric", "numeric"),
    Column("fares", "numeric(10,2)[]", "numeric", array=True),
    Column("day", "date", "date"),
    Column("days", "date[]", "date", array=True),
    Column("at", "time without time zone", "time"),
    Column("short", "time(3) without time zone", "time"),
    Column("landed", "timestamp without time zone", "timestamp"),
    Column("brief", "timestamp(0) without time zone", "timestamp"),
    Column("departs", "timestamp with time zone", "timestamptz"),
    Column("wait", "interval", "interval"),
    Column("raw", "bytea", "bytea"),
    Column("made", "integer", "int4", generated=True),
)
FLIGHT = Table("public", "Flight x", COLUMNS, ("id",))
LABEL = FLIGHT.label
EVERYTHING = {
    "value.converter": JSON,
    "value.converter.replace.null.with.default": "false",
    "decimal.handling.mode": "string",
    "time.precision.mode": "isostring",
    "interval.handling.mode": "string",
}
BASE = {"connector.class": CLASS, "topic.prefix": "their", "plugin.name": "pgoutput"}
OTHERWISE_WELL = {**EVERYTHING, "skipped.operations": "none", "unavailable.value.placeholder": "random"}


class Database:
    """Answers what the judgement asks: columns with defaults, then nothing; tables of a publication."""

    def __init__(self, published: list[str], defaults: dict[str, list[str]]) -> None:
        self._published = published
        self._defaults = defaults
        self._rows: list[Any] = []

    def execute(self, query: str, values: Any) -> Database:
        if "pg_publication_tables" in query:
            self._rows = [(label,) for label in self._published] if values == ("dbz_publication",) else []
        else:
            self._rows = list(self._defaults.items())
        return self

    def fetchall(self) -> list[Any]:
        return self._rows


def judged(
    settings: dict[str, str | None],
    *,
    defaults: tuple[str, ...] = (),
    published: bool = True,
    table: Table = FLIGHT,
) -> adoption.Adoption:
    database = Database([table.label] if published else [], {table.label: list(defaults)})
    catalogue = Catalogue("air", "1", 1, 180000, {table.label: table})
    config = {**BASE, **settings}
    return adoption.judge("theirs", config, catalogue, {table.label: CapturedTable()}, cast("Connection", database))


def values(**settings: str) -> adopted_values.Values:
    config: dict[str, str | None] = {key.replace("__", "."): value for key, value in settings.items()}
    return adopted_values.judge({**EVERYTHING, **config}, FLIGHT, frozenset())


def test_what_our_own_settings_give_is_checked_and_nothing_is_lost() -> None:
    found = values()
    assert found.lost == {}
    assert set(found.forms.items()) == {(n, "text") for n in ("fare", "free", "day", "at", "short", "landed", "brief")}


def test_debeziums_defaults_are_turned_where_that_is_exact() -> None:
    found = adopted_values.judge({}, FLIGHT, frozenset({"name"}))
    assert found.forms == {
        "fare": "unscaled",
        "day": "days",
        "at": "time_us",
        "short": "time_ms",
        "landed": "timestamp_us",
        "brief": "timestamp_ms",
    }
    assert found.lost == {
        "name": f"value.converter={JSON}\nvalue.converter.replace.null.with.default=false",
        "free": "decimal.handling.mode=string",
        "fares": "decimal.handling.mode=string",
        "days": "time.precision.mode=isostring",
        "wait": "interval.handling.mode=string",
    }


@pytest.mark.parametrize(
    ("setting", "value", "lost"),
    [
        ("decimal.handling.mode", "double", {"fare", "free", "fares"}),
        ("time.precision.mode", "connect", {"days", "at", "landed"}),
        ("time.precision.mode", "nanoseconds", {"day", "days", "at", "short", "landed", "brief"}),
        ("time.precision.mode", "adaptive_time_microseconds", {"days"}),
        ("interval.handling.mode", "numeric", {"wait"}),
        ("binary.handling.mode", "hex", {"raw"}),
        ("binary.handling.mode", "bytes", set[str]()),
        ("column.exclude.list", r"public\.Flight x\.name", {"name"}),
        ("column.mask.hash.SHA-256.with.salt.x", r"public.*\.name,other", {"name"}),
        ("column.truncate.to.20.chars", r".*\.raw", {"raw"}),
        ("column.include.list", r".*\.(id|name)", {c.name for c in COLUMNS} - {"id", "name", "made"}),
    ],
)
def test_a_setting_that_changes_values_loses_their_columns(setting: str, value: str, lost: set[str]) -> None:
    assert set(adopted_values.judge({**EVERYTHING, setting: value}, FLIGHT, frozenset()).lost) == lost


def test_numbers_that_the_converter_prints_as_numbers_are_lost() -> None:
    found = adopted_values.judge(
        {**EVERYTHING, "decimal.handling.mode": "precise", "value.converter.decimal.format": "NUMERIC"},
        FLIGHT,
        frozenset(),
    )
    assert "fare" in found.lost


def test_a_null_that_may_be_a_default_loses_its_column_unless_the_connector_says_otherwise() -> None:
    def lost(**settings: str) -> dict[str, str]:
        config: dict[str, str | None] = {key.replace("__", "."): value for key, value in settings.items()}
        return adopted_values.judge({**EVERYTHING, **config}, FLIGHT, frozenset({"name"})).lost

    assert lost() == {}
    assert lost(value__converter__replace__null__with__default="true") == {
        "name": "value.converter.replace.null.with.default=false"
    }


def test_a_connector_with_good_settings_has_no_flaw() -> None:
    found = judged(dict(OTHERWISE_WELL))
    assert found.flaws == ()
    assert found.topics == {LABEL: "their.public.Flight_x"}
    captured = found.capture(Capture({}, placeholder="ours"))
    assert captured.placeholder == "random"
    assert captured.adopted is not None
    assert captured.adopted.connector == "theirs"
    assert captured.tables[LABEL].forms["fare"] == "text"


@pytest.mark.parametrize(
    ("settings", "check", "said"),
    [
        (
            {"transforms": "a, b", "transforms.a.type": "x.Unwrap", "transforms.b.type": "x.Y"},
            "unreadable",
            "transform a",
        ),
        ({"key.converter": "org.apache.kafka.connect.storage.StringConverter"}, "unreadable", "key.converter is"),
        ({"value.converter": "io.confluent.connect.avro.AvroConverter"}, "unreadable", "value.converter is"),
        ({"message.key.columns": "public.flight:name"}, "unreadable", "message.key.columns is"),
        ({"post.processors": "reselector"}, "unreadable", "post.processors is"),
        ({"converters": "mine"}, "unreadable", "converters is"),
        ({"field.name.adjustment.mode": "avro"}, "unreadable", "field.name.adjustment.mode is avro"),
        ({"producer.override.partitioner.class": "x"}, "unreadable", "nobody knows"),
        ({"topic.naming.strategy": "mine"}, "unreadable", "whose topics are not known"),
        ({"skipped.operations": "u"}, "unreadable", "changes are not sent"),
        ({"unavailable.value.placeholder": "hex:00"}, "unreadable", "in hex"),
        ({"table.include.list": "public.seat"}, "table_missing", "does not capture"),
        ({"schema.exclude.list": "pub.*"}, "table_missing", "does not capture"),
        ({"skipped.operations": "t"}, "truncates", "TRUNCATE"),
        ({"skipped.operations": None}, "truncates", "TRUNCATE"),
        ({"unavailable.value.placeholder": None}, "placeholder", "__debezium_unavailable_value"),
        ({"event.processing.failure.handling.mode": "warn"}, "skips", "left out"),
        ({"publication.name": "another"}, "unpublished", "publication another does not have"),
        ({"connector.class": "io.debezium.connector.mysql.MySqlConnector"}, "not_debezium", "only"),
    ],
)
def test_each_setting_has_its_flaw_and_a_remedy(settings: dict[str, str | None], check: str, said: str) -> None:
    (flaw, *more) = judged({**OTHERWISE_WELL, **settings}).flaws
    assert flaw.check == f"adopt.{check}"
    assert said in flaw.evidence
    assert flaw.remedy.startswith(("connector: ", "none: "))
    assert {each.check for each in more} <= {flaw.check}


def test_harmless_settings_are_none() -> None:
    transform = {"transforms": "h", "transforms.h.type": "org.apache.kafka.connect.transforms.InsertHeader"}
    listed = {"table.include.list": r"public\.seat, (?-i)public\.Flight x", "schema.include.list": "PUBLIC"}
    assert judged({**OTHERWISE_WELL, **transform, **listed, "field.name.adjustment.mode": "none"}).flaws == ()


def test_a_key_that_does_not_arrive_whole_is_refused() -> None:
    table = Table("public", "t", (Column("wait", "interval", "interval", not_null=True),), ("wait",))
    found = judged({**OTHERWISE_WELL, "interval.handling.mode": "numeric"}, table=table)
    assert [(flaw.check, flaw.remedy) for flaw in found.refusals] == [
        ("adopt.key", "connector: interval.handling.mode=string")
    ]


@pytest.mark.parametrize(
    ("listed", "name", "found"),
    [
        (r"public\.flight", "public.flight", True),
        (r"public\.flight", "public.flights", False),
        (r"PUBLIC\.Flight", "public.flight", True),
        (r"(?-i)PUBLIC\.Flight", "public.flight", False),
        (r"a\.b ,public\..*", "public.flight", True),
        (r"[", "public.flight", False),
        (r"public\.a\,b", "public.a,b", True),
    ],
)
def test_lists_are_anchored_expressions(listed: str, name: str, found: bool) -> None:
    assert patterns.is_listed(listed, name) == found


@pytest.mark.parametrize(
    ("value", "readable"),
    [
        (b'{"op":"u","source":{"table":"t"},"after":{}}', True),
        (b'{"schema":{"type":"struct"},"payload":{"op":"u","source":{"table":"t"}}}', True),
        (b'{"id":1,"status":"flat"}', False),
        (b'{"schema":{},"payload":{"id":1}}', False),
        (b"\x00\x00\x00\x00\x01", False),
        (b'"text"', False),
    ],
)
def test_a_sample_shows_whether_messages_can_be_read(value: bytes, readable: bool) -> None:
    assert adopted_sample.is_envelope(value) == readable
