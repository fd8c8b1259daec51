"""Random transactions over a tree of tables, the consumer killed: each document is what the source shows then."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql

from tests.harness.context import ContextLog, exact
from tests.harness.processes import FAILPOINTS, ConsumerProcess
from tests.harness.source import AttachedSource, attached
from wakestream import documents
from wakestream.capture import Computed, Entity, Member

SOAK = bool(os.environ.get("WAKE_SOAK"))
SEED = int(os.environ["WAKE_SEED"])
TRANSACTIONS = 10_000 if SOAK else 1000
KILLS = 30 if SOAK else 5

pytestmark = pytest.mark.timeout(3600 if SOAK else 1200)

DDL = """
create table kind (code text primary key, seats int, maker text);
create table flight (id int primary key, kind text, status text);
create table booking (id int primary key, flight int, ref text, boss int, note text);
create table bag (booking int, n int, weight int, primary key (booking, n));
create table payment (id int primary key, ref text, amount numeric);
"""
TABLES = ("public.kind", "public.flight", "public.booking", "public.bag", "public.payment")


def _bags(limit: int, order: str | None = None) -> Member:
    return Member("bags", "public.bag", True, ("id",), ("booking",), None, order, limit, key=("booking", "n"))


TRIP = Entity(
    "trip",
    "public.booking",
    (
        Member(
            *("plane", "public.flight", False, ("flight",), ("id",)),
            key=("id",),
            members=(
                Member("aircraft", "public.kind", columns=("kind",), references=("code",), key=("code",)),
                Member(
                    *("others", "public.booking", True, ("id",), ("flight",)),
                    order="plane__others.ref desc nulls last",
                    limit=3,
                    key=("id",),
                    fields=("id", "ref"),
                    members=(_bags(2),),
                ),
            ),
        ),
        Member(
            "boss_trip", "public.booking", columns=("boss",), references=("id",), key=("id",), fields=("id", "note")
        ),
        Member(
            "newest",
            "public.payment",
            columns=("ref",),
            references=("ref",),
            key=("id",),
            order="newest.id desc",
            pick=True,
        ),
        _bags(3, "bags.weight desc"),
        Member("payments", "public.payment", many=True, columns=("ref",), references=("ref",), limit=4, key=("id",)),
    ),
    (
        Computed(
            "paid", "(select sum((p ->> 'amount')::numeric) from jsonb_array_elements(payments.rows) p)", "numeric"
        ),
    ),
)
COLUMNS = {
    "kind": ("code", "seats", "maker"),
    "flight": ("id", "kind", "status"),
    "booking": ("id", "flight", "ref", "boss", "note"),
    "bag": ("booking", "n", "weight"),
    "payment": ("id", "ref", "amount"),
}
KEYS = {"kind": 1, "flight": 1, "booking": 1, "bag": 2, "payment": 1}
Document = dict[str, Any]
Changed = dict[str, tuple[Document | None, Document | None]]
"""Documents before and after, by subject."""


@dataclass
class Writer:
    """Writes random transactions, and after each of them asks the source for all documents."""

    source: AttachedSource
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))
    expected: list[Changed] = field(default_factory=list[Changed])
    """Of every transaction that changed a document, in order."""

    def __post_init__(self) -> None:
        self._connection = psycopg.connect(self.source.url, options="-c TimeZone=UTC")
        tables = {label: sql.Identifier(*label.split(".")) for label in TABLES}
        self._query = sql.SQL("select trip.id, {}::text from {} as trip{}").format(
            documents.document(TRIP), tables[TRIP.root], documents.joins(TRIP, tables)
        )
        self._before = self._documents()

    def write(self) -> None:
        truncated = False
        with self._connection.transaction():
            for _ in range(self.rng.randint(1, 5)):
                kept = self.rng.random() < 0.9
                with self._connection.transaction(force_rollback=not kept):
                    truncated |= self._change() and kept
        after = self._documents()
        changed: Changed = {
            f"trip/{key}": (self._before.get(key), after.get(key))
            for key in {**self._before, **after}
            if self._before.get(key) != after.get(key) and not (truncated and key not in after)
        }
        self._before = after
        if changed:
            self.expected.append(changed)

    @property
    def current(self) -> Mapping[int, Document]:
        """The documents as they are, by root key."""
        return self._before

    def close(self) -> None:
        self._connection.close()

    def _documents(self) -> dict[int, Document]:
        rows = self._connection.execute(self._query, ()).fetchall()
        self._connection.rollback()
        return {key: exact(text) for key, text in rows}

    def _change(self) -> bool:
        """One statement; whether it truncated the root."""
        rng, table = self.rng, self.rng.choice(list(COLUMNS))
        row = self._row(table)
        key = COLUMNS[table][: KEYS[table]]
        doing = rng.random()
        if doing < 0.01:
            self._connection.execute(sql.SQL("truncate {}").format(sql.Identifier(table)))
            return table == "booking"
        same = " and ".join(f"{name} = %({name})s" for name in key)
        if doing < 0.15:
            self._connection.execute(f"delete from {table} where {same}".encode(), row)
        elif doing < 0.25:
            moved = {f"new_{name}": value for name, value in self._row(table).items()}
            values = ", ".join(f"{name} = %(new_{name})s" for name in COLUMNS[table])
            free = " and ".join(f"{name} = %(new_{name})s" for name in key)
            self._connection.execute(
                f"update {table} set {values} where {same} and not exists (select from {table} where {free})".encode(),
                row | moved,
            )
        else:
            listed = ", ".join(f"%({name})s" for name in COLUMNS[table])
            update = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[table])
            self._connection.execute(
                f"insert into {table} values ({listed}) on conflict ({', '.join(key)}) do update set {update}".encode(),
                row,
            )
        return False

    def _row(self, table: str) -> dict[str, Any]:
        rng = self.rng
        some = {
            "kind": lambda: {"code": rng.choice("xyz"), "seats": rng.randint(1, 3), "maker": rng.choice("mn")},
            "flight": lambda: {
                "id": rng.randint(1, 6),
                "kind": rng.choice(["x", "y", "z", None]),
                "status": rng.choice("st"),
            },
            "booking": lambda: {
                "id": rng.randint(1, 20),
                "flight": rng.choice([None, *range(1, 7)]),
                "ref": rng.choice(["a", "b", "c", "d", None]),
                "boss": rng.choice([None, *range(1, 21)]),
                "note": rng.choice(["", "n", "long " * 600]),
            },
            "bag": lambda: {"booking": rng.randint(1, 20), "n": rng.randint(1, 3), "weight": rng.randint(1, 9)},
            "payment": lambda: {
                "id": rng.randint(1, 12),
                "ref": rng.choice(["a", "b", "c", "d", None]),
                "amount": rng.choice(["1.10", "2", "7.77"]),
            },
        }
        return some[table]()


@dataclass(frozen=True)
class Run:
    writer: Writer
    consumer: ConsumerProcess
    context: ContextLog


@pytest.fixture(scope="module")
def run(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Generator[Run]:
    with (
        attached(env, DDL, TABLES, entities={"trip": TRIP}) as source,
        ConsumerProcess(source.raw_config, tmp_path_factory.mktemp("entities")) as consumer,
    ):
        consumer.start()
        source.wait_mirrored()
        writer = Writer(source)
        for part in range(KILLS):
            for _ in range(TRANSACTIONS // (KILLS + 1)):
                writer.write()
            consumer.kill_at(FAILPOINTS[part % len(FAILPOINTS)])
            consumer.start()
        for _ in range(TRANSACTIONS // (KILLS + 1)):
            writer.write()
        writer.close()
        source.wait_applied(within=300.0 if SOAK else 90.0)
        assert consumer.stop() == 0
        assert source.dead_letters() == []
        yield Run(writer, consumer, source.context())


def test_every_document_is_what_the_source_shows_after_its_transaction(run: Run) -> None:
    told: dict[int, Changed] = defaultdict(dict)
    for each in run.context.of_type("entity.changed"):
        assert each.data["missing"] == []
        assert each.event["subject"] not in told[each.data["position"]["commit"]]
        told[each.data["position"]["commit"]][each.event["subject"]] = (each.data["before"], each.data["after"])
    assert len(told) == len(run.writer.expected)
    for (_, found), wanted in zip(sorted(told.items()), run.writer.expected, strict=True):
        assert found == wanted


def test_the_topic_keeps_its_contract_over_the_kills(run: Run) -> None:
    run.context.verify_contract()
    assert len([end for end in run.consumer.ends if end != 0]) == KILLS
    assert run.context.repeats() > 0
