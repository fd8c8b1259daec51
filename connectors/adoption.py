"""A connector that somebody else runs: what of it can be read, and what is missing by which of its settings.

It is looked at and never changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import msgspec

from connectors import adopted_values, patterns
from connectors.adopted_values import JSON, Flaw
from connectors.connect import Connect, ConnectorMissing, types
from connectors.connector_config import CLASS, PLACEHOLDER
from connectors.databases import Connection
from wakestream.capture import Adopted, Capture, CapturedTable
from wakestream.catalogue import Catalogue, Table
from wakestream.config.models import Source
from wakestream.errors import RefusedError

DEFAULT_PLACEHOLDER = "__debezium_unavailable_value"
MISSING = (
    "missing of an adopted connector: causes, entities, truncates in order, clock marks (timers stand still while"
    " nothing changes), and rows that no message of its topics has told; attached without `adopt` a source has them"
)

_NAMING = ("io.debezium.schema.SchemaTopicNamingStrategy",)
_HARMLESS = ("org.apache.kafka.connect.transforms.InsertHeader", "org.apache.kafka.connect.transforms.DropHeaders")
_ILLEGAL = re.compile(r"[^a-zA-Z0-9._-]")

# Settings under which what arrives is not Debezium's envelope, or not in order for each key; None: set at all.
_UNREADABLE: dict[str, tuple[str | None, str]] = {
    "message.key.columns": (None, "messages are placed by other columns than the primary key: a row's order is lost"),
    "post.processors": (None, "values are changed on the way, and may be newer than their change"),
    "converters": (None, "values are changed on the way"),
    "producer.override.partitioner.class": (None, "nobody knows whether a row's changes stay in one partition"),
    "field.name.adjustment.mode": ("none", "columns arrive under other names"),
}


@dataclass(frozen=True)
class Adoption:
    """One connector, judged for the tables that are captured."""

    name: str
    config: types.Config
    topics: dict[str, str] = field(default_factory=dict[str, str])
    """By `schema.table`."""
    tables: dict[str, CapturedTable] = field(default_factory=dict[str, CapturedTable])
    """With their lost columns and forms."""
    flaws: tuple[Flaw, ...] = ()

    @property
    def placeholder(self) -> str:
        """What it writes for an unchanged value that it was not sent."""
        return self.config.get(PLACEHOLDER) or DEFAULT_PLACEHOLDER

    @property
    def refusals(self) -> list[Flaw]:
        """What keeps it from being read at all."""
        return [flaw for flaw in self.flaws if flaw.check in REFUSED]

    def capture(self, resolved: Capture) -> Capture:
        """What is captured through this connector."""
        adopted = Adopted(self.name, self.topics)
        return msgspec.structs.replace(resolved, tables=self.tables, placeholder=self.placeholder, adopted=adopted)


REFUSED = frozenset({"adopt.not_debezium", "adopt.unreadable", "adopt.table_missing", "adopt.key"})
"""Checks that `apply` refuses; the others are told."""


def find(client: Connect, name: str) -> types.Config | None:
    """The configuration of the connector; None where there is none."""
    try:
        return client.config(name)
    except ConnectorMissing:
        return None


def require(client: Connect, source: str, name: str) -> types.Config:
    """The same. Raises `RefusedError` where there is none."""
    config = find(client, name)
    if config is None:
        raise RefusedError(f"source {source}: there is no connector `{name}` in {client.url}; sources.{source}.adopt")
    return config


def judge(
    name: str, config: types.Config, catalogue: Catalogue, tables: Mapping[str, CapturedTable], reader: Connection
) -> Adoption:
    """What reading it gives of these tables; the database is asked for defaults and for its publication."""
    if config.get("connector.class") != CLASS:
        evidence = f"{name} is a {config.get('connector.class')}, and only {CLASS} is read"
        return Adoption(name, config, flaws=(Flaw("adopt.not_debezium", evidence, "none: name another connector"),))
    flaws = [*_unreadable(config), *_told_wrongly(config)]
    topics = {label: topic(config, table) for label, table in catalogue.tables.items()}
    flaws += _captured(config, tables, topics)
    flaws += _published(config, tables, reader)
    defaults = adopted_values.nullable_with_default(reader, tables)
    judged: dict[str, CapturedTable] = {}
    for label, settings in tables.items():
        table = catalogue.table(label)
        if table is None:
            continue
        values = adopted_values.judge(config, table, defaults.get(label, frozenset()))
        judged[label] = msgspec.structs.replace(settings, lost=tuple(sorted(values.lost)), forms=values.forms)
        flaws += values.flaws(table, settings.hidden)
    return Adoption(name, config, topics, judged, tuple(flaws))


def topic(config: types.Config, table: Table) -> str:
    """Where Debezium writes the changes of a table."""
    between = config.get("topic.delimiter") or "."
    return _ILLEGAL.sub("_", between.join((config.get("topic.prefix") or "", table.schema, table.name)))


def _unreadable(config: types.Config) -> Iterator[Flaw]:
    for name in filter(None, (each.strip() for each in (config.get("transforms") or "").split(","))):
        kind = config.get(f"transforms.{name}.type")
        if kind not in _HARMLESS:
            evidence = f"transform {name} ({kind}) changes messages or their topics"
            yield _refused(evidence, "connector: remove `transforms`, or run a connector without it")
    for side in ("key.converter", "value.converter"):
        if (config.get(side) or JSON) != JSON:
            evidence = f"{side} is {config.get(side)}, and only {JSON} can be read"
            yield _refused(evidence, f"connector: {side}={JSON}")
    for key, (harmless, why) in _UNREADABLE.items():
        if (config.get(key) or "") not in ("", harmless or ""):
            yield _refused(f"{key} is {config.get(key)}: {why}", f"connector: remove `{key}`")
    strategy = config.get("topic.naming.strategy") or _NAMING[0]
    if strategy not in _NAMING:
        yield _refused(f"topic.naming.strategy is {strategy}, whose topics are not known", "connector: remove it")
    skipped = set((config.get("skipped.operations") or "t").replace(" ", "").split(","))
    if skipped & {"c", "u", "d"}:
        evidence = f"skipped.operations is {config.get('skipped.operations')}: changes are not sent"
        yield _refused(evidence, "connector: skipped.operations=none")
    if (config.get(PLACEHOLDER) or "").startswith("hex:"):
        evidence = f"{PLACEHOLDER} is given in hex"
        yield _refused(evidence, f"connector: {PLACEHOLDER}=<a long random text>")


def _refused(evidence: str, remedy: str) -> Flaw:
    return Flaw("adopt.unreadable", evidence, remedy)


def _told_wrongly(config: types.Config) -> Iterator[Flaw]:
    """What is not told, or could be taken for something else."""
    if "t" in (config.get("skipped.operations") or "t").replace(" ", "").split(","):
        evidence = "a TRUNCATE is not sent: its rows stay in the context store"
        yield Flaw("adopt.truncates", evidence, "connector: skipped.operations=none")
    if (config.get(PLACEHOLDER) or DEFAULT_PLACEHOLDER) == DEFAULT_PLACEHOLDER:
        evidence = f"an unchanged long value arrives as `{DEFAULT_PLACEHOLDER}`, which a row may hold as well"
        yield Flaw("adopt.placeholder", evidence, f"connector: {PLACEHOLDER}=<a long random text>")
    mode = config.get("event.processing.failure.handling.mode") or "fail"
    if mode != "fail":
        evidence = f"changes that Debezium cannot process are left out (event.processing.failure.handling.mode={mode})"
        yield Flaw("adopt.skips", evidence, "connector: event.processing.failure.handling.mode=fail")


def _captured(config: types.Config, tables: Iterable[str], topics: Mapping[str, str]) -> Iterator[Flaw]:
    by_topic: dict[str, str] = {}
    for label in sorted(tables):
        schema = label.partition(".")[0]
        found = topics.get(label)
        if not (_matches(config, "table", label) and _matches(config, "schema", schema)):
            evidence = f"the connector does not capture {label}"
            yield Flaw("adopt.table_missing", evidence, f"connector: add {label} to table.include.list", label)
        elif found is not None and by_topic.setdefault(found, label) != label:
            evidence = f"{by_topic[found]} and {label} are written to one topic, {found}"
            yield _refused(evidence, f"none: remove {label} from `tables`")


def _matches(config: types.Config, what: str, name: str) -> bool:
    included, excluded = config.get(f"{what}.include.list"), config.get(f"{what}.exclude.list")
    if included:
        return patterns.is_listed(included, name)
    return not (excluded and patterns.is_listed(excluded, name))


def _published(config: types.Config, tables: Iterable[str], reader: Connection) -> Iterator[Flaw]:
    """Tables whose changes the server does not send: their snapshot arrives, and nothing after it."""
    if (config.get("plugin.name") or "decoderbufs") != "pgoutput":
        return  # which knows no publications
    name = config.get("publication.name") or "dbz_publication"
    rows = reader.execute(
        "select schemaname || '.' || tablename from pg_publication_tables where pubname = %s", (name,)
    ).fetchall()
    published = {label for (label,) in rows}
    for label in sorted(set(tables) - published):
        evidence = f"publication {name} does not have {label}: no change of it arrives"
        remedy = f"none: have the owner of the connector add {label} to publication {name}"
        yield Flaw("adopt.unpublished", evidence, remedy, label)


def of_file(source: Source) -> dict[str, CapturedTable]:
    """The tables as the file names them, before anything is known of them."""
    return {
        label: CapturedTable(each.exclude, dict(each.mask), each.untrusted, each.mirror)
        for label, each in source.tables.items()
    }
