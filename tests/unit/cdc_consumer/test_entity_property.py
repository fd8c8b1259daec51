"""Whatever transactions change of a tree of rows, and however the log is cut: documents are those of plain Python."""

from __future__ import annotations

import copy
import json
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_consumer import collect, entity_events, large, large_entities
from tests.harness.debezium import clock, delete, insert, move, truncate, update
from tests.unit.cdc_consumer.entity_model import Model, Orders, Row, Rows
from tests.unit.cdc_consumer.tables import NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import consumed, started
from wakestream.capture import Computed, Entity, Member

TABLES = {
    each.name: each
    for each in (
        table("kind", "code", column("code", "text"), column("seats", "int4"), column("maker", "text")),
        table("flight", "id", column("id", "int4"), column("kind", "text"), column("status", "text")),
        table(
            "booking",
            "id",
            column("id", "int4"),
            column("flight", "int4"),
            column("ref", "text"),
            column("boss", "int4"),
        ),
        table("bag", "booking n", column("booking", "int4"), column("n", "int4"), column("weight", "int4")),
        table("payment", "id", column("id", "int4"), column("ref", "text"), column("amount", "int4")),
    )
}
AIRCRAFT = Member(
    "aircraft", "public.kind", columns=("kind",), references=("code",), key=("code",), fields=("code", "seats")
)
OTHERS = Member(
    *("others", "public.booking", True, ("id",), ("flight",)),
    order="plane__others.ref desc",
    limit=2,
    key=("id",),
    fields=("id", "ref"),
    members=(
        Member(
            "bags", "public.bag", many=True, columns=("id",), references=("booking",), limit=1, key=("booking", "n")
        ),
    ),
)
BOOKING = Entity(
    "trip",
    "public.booking",
    (
        Member(
            "plane", "public.flight", columns=("flight",), references=("id",), key=("id",), members=(AIRCRAFT, OTHERS)
        ),
        Member("boss_trip", "public.booking", columns=("boss",), references=("id",), key=("id",), fields=("id", "ref")),
        Member(
            "newest",
            "public.payment",
            columns=("ref",),
            references=("ref",),
            key=("id",),
            order="newest.amount desc",
            pick=True,
        ),
        Member(
            "bags",
            "public.bag",
            many=True,
            columns=("id",),
            references=("booking",),
            order="bags.weight desc",
            limit=2,
            key=("booking", "n"),
        ),
        Member("payments", "public.payment", many=True, columns=("ref",), references=("ref",), limit=3, key=("id",)),
    ),
    (Computed("paid", "(select sum((p ->> 'amount')::int4) from jsonb_array_elements(payments.rows) p)", "int8"),),
)
ORDERS: Orders = {
    "plane__others.ref desc": lambda row: (0, "") if row["ref"] is None else (1, -ord(row["ref"])),
    "newest.amount desc": lambda row: -row["amount"],
    "bags.weight desc": lambda row: -row["weight"],
}

small = st.integers(1, 3)
refs = st.sampled_from(["a", "b", None])
values: dict[str, st.SearchStrategy[Row]] = {
    "kind": st.fixed_dictionaries({"code": st.sampled_from("xy"), "seats": small, "maker": st.sampled_from("mn")}),
    "flight": st.fixed_dictionaries(
        {"id": small, "kind": st.sampled_from(["x", "y", None]), "status": st.sampled_from("st")}
    ),
    "booking": st.fixed_dictionaries(
        {"id": small, "flight": st.one_of(st.none(), small), "ref": refs, "boss": st.one_of(st.none(), small)}
    ),
    "bag": st.fixed_dictionaries({"booking": small, "n": small, "weight": small}),
    "payment": st.fixed_dictionaries({"id": small, "ref": refs, "amount": small}),
}
doings = st.sampled_from(["write", "write", "write", "write", "delete", "move", "truncate"])
steps = st.sampled_from(sorted(TABLES)).flatmap(
    lambda name: st.tuples(st.just(name), doings, values[name], values[name])
)


class World:
    """Rows in memory, and the log of what happened to them."""

    def __init__(self) -> None:
        self.log = started(*TABLES)
        self.rows: Rows = {f"public.{name}": [] for name in TABLES}
        self._lsn = 10**6

    def transaction(self, wanted: list[tuple[str, str, Row, Row]]) -> None:
        changes = [change for step in wanted for change in self._changes(*step)]
        self.log.transaction(*changes, clock())

    def _changes(self, name: str, doing: str, first: Row, second: Row) -> list[dict[str, Any]]:
        rows, key_of = self.rows[f"public.{name}"], TABLES[name].key
        key, other = ({each: row[each] for each in key_of} for row in (first, second))
        there, target = (next((row for row in rows if key.items() <= row.items()), None) for key in (key, other))
        if doing == "truncate":
            rows.clear()
            return [truncate(name)]
        if doing == "write":
            if there is None:
                rows.append(dict(first))
                return [insert(name, key, first)]
            there.update(first)
            return [update(name, key, first)]
        if there is None:
            return []
        if doing == "delete":
            rows.remove(there)
            return [delete(name, key)]
        if target is not None:
            return []
        rows.remove(there)
        rows.append(dict(second))
        self._lsn += 8
        return list(move(name, key, other, second, lsn=self._lsn))


@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.generate,),  # a shrunken example would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(st.lists(steps, max_size=6), min_size=1, max_size=8),
    st.integers(0, 9),
    st.sampled_from([1, 500]),
    st.sampled_from([2, 10**6]),
)
def test_documents_are_those_of_plain_python(
    new_ledger: NewLedger, transactions: list[list[tuple[str, str, Row, Row]]], seed: int, at_once: int, largest: int
) -> None:
    world, model = World(), Model(BOOKING, ("id",), ORDERS)
    expected: list[list[tuple[str, Row | None, Row | None]]] = []
    for wanted in transactions:
        before = documents(model, world.rows)
        world.transaction(wanted)
        after = documents(model, world.rows)
        truncated = any(doing == "truncate" and name == "booking" for name, doing, *_ in wanted)
        expected.append(
            [
                (f"trip/{key}", before.get(key), after.get(key))
                for key in sorted({*before, *after})
                if before.get(key) != after.get(key) and not (truncated and key not in after)
            ]
        )
    compiled = plan(*TABLES.values(), entities={"trip": BOOKING})
    with (
        patch.object(entity_events, "AT_ONCE", at_once),
        patch.object(large_entities, "AT_ONCE", at_once),
        patch.object(collect, "LARGEST", largest),
        patch.object(large, "PART", 2),
    ):
        context, letters = consumed(new_ledger, world.log, compiled, seed=seed, largest=30, crashes=0.2)
    assert letters == []
    commits = [each.data["position"]["commit"] for each in context.of_type("context.clock")]
    told: dict[int, list[tuple[str, Row | None, Row | None]]] = {commit: [] for commit in commits}
    for each in context.of_type("entity.changed"):
        told[each.data["position"]["commit"]].append(
            (each.event["subject"], plain(each.data["before"]), plain(each.data["after"]))
        )
    assert [sorted(told[commit], key=lambda event: event[0]) for commit in commits] == expected


def documents(model: Model, rows: Rows) -> dict[Any, Row]:
    found = {key: copy.deepcopy(document) for (key,), document in model.documents(rows).items()}
    for document in found.values():
        document["paid"] = sum(each["amount"] for each in document["payments"]) if document["payments"] else None
    return found


def plain(document: Any) -> Any:
    """Numbers as Python has them."""
    return json.loads(json.dumps(document, default=lambda number: int(str(number.digits))))
