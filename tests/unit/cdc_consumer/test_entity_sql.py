"""Documents of entities whose SQL and names are as somebody may write them, from the file to the event."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from cdc_consumer.plan import Plan
from tests.harness.debezium import insert, update
from tests.unit.cdc_consumer.tables import PLACEHOLDER, SOURCE, NewLedger
from tests.unit.cdc_consumer.test_batch import consumed, started
from tests.unit.connectors.source_server import MakeDatabase, make_database, source_server
from wakestream import config, inspection, resolving
from wakestream.capture import Revision

__all__ = ["make_database", "source_server"]

DDL = """
create table trip (id int primary key, n int, note text, label text generated always as (note || '!') stored);
create table bag (id int primary key, trip_id int references trip, weight int, tag text);
"""
HEAD = f"""\
kafka: {{bootstrap_servers: k}}
connect: {{url: "http://c", secrets: s}}
ledger: {{url: "postgresql://l"}}
sources:
  {SOURCE}:
    capture: postgresql://c
    tables: {{public.trip: {{mask: {{note: email}}}}, public.bag: {{}}}}
entities:
"""
BAGS = "table: public.bag, many: true, limit: 5"


def resolved(directory: Path, url: str, text: str) -> Plan:
    """The plan of a file for a database with these tables."""
    path = directory / "wake.yaml"
    path.write_text(HEAD + text)
    with psycopg.connect(url) as connection:
        catalogue = inspection.read_catalogue(connection, SOURCE, ["public.trip", "public.bag"])
        capture = resolving.resolve(config.load(path, {}), SOURCE, catalogue, connection, placeholder=PLACEHOLDER)
    return Plan(Revision(1, SOURCE, catalogue, capture))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"trip: {{root: {SOURCE}.public.trip, include: {{x: {{{BAGS}}}}}}}", {"x": [1]}),
        (f"x: {{root: {SOURCE}.public.trip, include: {{m: {{{BAGS}}}}}}}", {"m": [1]}),
        (f"trip: {{root: {SOURCE}.public.trip, compute: {{even: id % 2 = 0}}}}", {"even": False}),
        (
            f"trip: {{root: {SOURCE}.public.trip, include: {{x: {{{BAGS}, where: weight % 10 = 7}}}},"
            " compute: {n_of: jsonb_array_length(x.rows), twice: trip.n * 2}}",
            {"x": [1], "n_of": 1, "twice": 4},
        ),
        (f"trip: {{root: {SOURCE}.public.trip, fields: [note, label], compute: {{more: trip.n + 1}}}}", {"more": 3}),
        (
            f"load: {{root: {SOURCE}.public.bag, include: {{trip: {{fields: [n, label]}}}}}}",
            {"trip": {"id": 1, "n": 2}},
        ),
        (f"oldest: {{root: {SOURCE}.public.trip, include: {{b: {{{BAGS}, order: 'weight desc, tag'}}}}}}", {"b": [1]}),
    ],
)
def test_from_the_file_to_the_event(
    make_database: MakeDatabase, tmp_path: Path, new_ledger: NewLedger, text: str, shown: dict[str, object]
) -> None:
    compiled = resolved(tmp_path, make_database(DDL), f"  {text}\n")
    log = started("trip", "bag")
    log.transaction(insert("trip", {"id": 1}, {"n": 1, "note": "a@b"}))
    log.transaction(insert("bag", {"id": 1}, {"trip_id": 1, "weight": 7, "tag": "t"}))
    log.transaction(update("trip", {"id": 1}, {"n": 2, "note": "a@b"}))
    context, letters = consumed(new_ledger, log, compiled)
    assert letters == []
    last = context.of_type("entity.changed")[-1].data
    found = {name: last["after"][name] for name in shown}
    assert {k: [each["id"] for each in v] if isinstance(v, list) else v for k, v in found.items()} == shown
    assert [path.rpartition(".")[2] for path in last["missing"]] == ["label", "label"]
