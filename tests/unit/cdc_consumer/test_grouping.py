"""Transactions that are applied as one: nobody can tell from the events that they were."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cdc_consumer import grouping
from cdc_consumer.batch import Batch
from cdc_consumer.grouping import Group
from cdc_consumer.plan import Plan
from tests.harness.debezium import LogWriter, clock, delete, insert, message, truncate, update
from tests.harness.replay import Recording
from tests.unit.cdc_consumer.tables import PLACEHOLDER, SOURCE, NewLedger, column, plan, table
from tests.unit.cdc_consumer.test_batch import KEY, consumed, started, whole
from tests.unit.cdc_consumer.test_entity_property import BOOKING, TABLES, World
from wakestream import change_log
from wakestream.capture import Entity, Member

# A list that is loaded only, over a table that another member follows; and one row out of several.
FLIGHT = Entity(
    "seat",
    "public.flight",
    (
        Member("aircraft", "public.kind", columns=("kind",), references=("code",), key=("code",)),
        Member("alike", "public.flight", many=True, where="alike.kind = seat.kind", limit=2, key=("id",)),
        Member("unwatched", "public.booking", True, ("id",), ("flight",), limit=2, key=("id",), watch=False),
    ),
)
NARROW = Entity(
    "payer",
    "public.payment",
    (Member("of", "public.booking", columns=("ref",), references=("ref",), key=("id",), pick=True),),
)
ENTITIES = [{"trip": BOOKING}, {"seat": FLIGHT}, {"payer": NARROW}, {"payer": NARROW, "seat": FLIGHT, "trip": BOOKING}]

number = st.integers(1, 9)
refs = st.sampled_from(["a", "b", "c", "d", "e", None])
kinds = st.sampled_from(["x", "y", "z", None])
values: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "kind": st.fixed_dictionaries({"code": st.sampled_from("xyz"), "seats": number, "maker": st.just("m")}),
    "flight": st.fixed_dictionaries({"id": number, "kind": kinds, "status": st.sampled_from("st")}),
    "booking": st.fixed_dictionaries(
        {"id": number, "flight": st.one_of(st.none(), number), "ref": refs, "boss": st.one_of(st.none(), number)}
    ),
    "bag": st.fixed_dictionaries({"booking": number, "n": st.integers(1, 2), "weight": number}),
    "payment": st.fixed_dictionaries({"id": number, "ref": refs, "amount": number}),
}
doings = st.sampled_from(["write", "write", "write", "write", "delete", "move"])
steps = st.sampled_from(sorted(TABLES)).flatmap(
    lambda name: st.tuples(st.just(name), doings, values[name], values[name])
)
sizes = Counter[int]()


def counted(self: Batch, group: Group) -> Any:
    sizes[len(group.pieces)] += 1
    return as_one(self, group)


as_one = Batch._as_one  # pyright: ignore[reportPrivateUsage]


@settings(
    max_examples=60,
    deadline=None,
    phases=(Phase.generate,),  # a shrunken example would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(st.lists(steps, min_size=1, max_size=2), min_size=20, max_size=40),
    st.sampled_from(ENTITIES),
    st.sampled_from([2, 5, 100]),
    st.sampled_from([3, 500]),
)
def test_the_events_are_those_of_one_transaction_after_another(
    new_ledger: NewLedger,
    transactions: list[list[tuple[str, str, Any, Any]]],
    entities: dict[str, Entity],
    window: int,
    documents: int,
) -> None:
    world = World()
    for wanted in transactions:
        world.transaction(wanted)
    compiled = plan(*TABLES.values(), entities=entities)
    alone, letters = consumed(new_ledger, world.log, compiled, largest=1)
    with (
        patch.object(grouping, "PAUSE", 0),
        patch.object(grouping, "WINDOW", window),
        patch.object(grouping, "DOCUMENTS", documents),
        patch.object(Batch, "_as_one", counted),
    ):
        together, same = consumed(new_ledger, world.log, compiled)
    assert [each.value for each in together.unique] == [each.value for each in alone.unique]
    assert letters == same == []


def test_there_were_groups() -> None:
    """Else what stands above has shown nothing."""
    assert sum(count for size, count in sizes.items() if size > 2) > 20


class Whole(random.Random):
    """Cuts nothing."""

    def randint(self, a: int, b: int) -> int:
        return b


def told(new_ledger: NewLedger, log: LogWriter, compiled: Plan) -> list[int]:
    """The sizes of the groups, where everything is added at once; nobody can tell them from the events."""
    found: list[int] = []

    def noted(self: Batch, group: Group) -> Any:
        found.append(len(group.pieces))
        return as_one(self, group)

    revision = compiled.revision
    records = [(offset, key, whole(compiled, value)) for offset, key, value in log.records]
    recording = Recording(SOURCE, revision.catalogue, revision.capture, KEY, 3, records)
    contexts: list[list[bytes]] = []
    for largest in (1, 10**6):
        with new_ledger() as url, patch.object(grouping, "PAUSE", 0), patch.object(Batch, "_as_one", noted):
            context = recording.replay(url, Whole(), largest=largest)
            contexts.append([each.value for each in context.unique])
    assert contexts[0] == contexts[1]
    return found


ALL = plan(*TABLES.values(), entities={"trip": BOOKING})


def test_rows_that_only_refer_to_the_same_one_go_together(new_ledger: NewLedger) -> None:
    plane = Member("plane", "public.flight", columns=("flight",), references=("id",), key=("id",))
    compiled = plan(*TABLES.values(), entities={"ticket": Entity("ticket", "public.booking", (plane,))})
    log = started(*TABLES)
    log.transaction(insert("flight", {"id": 1}, {"status": "s"}))
    for each in range(1, 5):
        log.transaction(insert("booking", {"id": each}, {"flight": 1}))
    log.transaction(update("flight", {"id": 1}, {"status": "t"}))
    for each in range(1, 5):
        log.transaction(update("booking", {"id": each}, {"flight": 1, "ref": "r"}))
    assert told(new_ledger, log, compiled) == [4, 4]


def booked(*numbers: int) -> LogWriter:
    """Bookings of one flight each, each with a bag and a payment to come; all of one transaction."""
    log = started(*TABLES)
    made: list[dict[str, Any]] = [
        insert("kind", {"code": "k8"}, {"seats": 1}),  # of a flight that nobody has booked
        insert("flight", {"id": 8}, {"status": "s", "kind": "k8"}),
    ]
    for each in numbers:
        made += [
            insert("kind", {"code": f"k{each}"}, {"seats": 1}),
            insert("flight", {"id": each}, {"status": "s", "kind": f"k{each}"}),
            insert("booking", {"id": each}, {"flight": each}),
            insert("bag", {"booking": each, "n": 1}, {"weight": 1}),
            insert("payment", {"id": each}, {"ref": f"r{each}", "amount": 1}),
        ]
    log.transaction(*made)
    return log


def test_what_has_nothing_in_common_goes_together(new_ledger: NewLedger) -> None:
    log = booked(1, 2, 3, 4)
    log.transaction(update("flight", {"id": 1}, {"kind": "k1", "status": "t"}), clock())
    log.transaction(update("bag", {"booking": 2, "n": 1}, {"weight": 2}))
    log.transaction(message("other", b"x"))
    log.transaction(update("booking", {"id": 3}, {"flight": 3, "ref": "a"}))
    log.transaction(insert("bag", {"booking": 4, "n": 2}, {"weight": 2}), delete("bag", {"booking": 4, "n": 1}))
    assert told(new_ledger, log, ALL) == [5]


@pytest.mark.parametrize(
    "changes",
    [
        # a row twice; a document twice; what a row comes to refer to; what comes to be referred to, or no more;
        # and what stands below either
        [
            update("flight", {"id": 1}, {"kind": "k1", "status": "t"}),
            update("flight", {"id": 1}, {"kind": "k1", "status": "u"}),
        ],
        [
            update("flight", {"id": 1}, {"kind": "k1", "status": "t"}),
            update("bag", {"booking": 1, "n": 1}, {"weight": 2}),
        ],
        [update("booking", {"id": 2}, {"flight": 1}), update("flight", {"id": 1}, {"kind": "k1", "status": "t"})],
        [update("flight", {"id": 2}, {"kind": "k2", "status": "t"}), update("booking", {"id": 2}, {"flight": 1})],
        [
            update("booking", {"id": 1}, {"flight": 1, "boss": 2}),
            update("booking", {"id": 2}, {"flight": 2, "ref": "a"}),
        ],
        [delete("booking", {"id": 1}), insert("bag", {"booking": 1, "n": 2}, {"weight": 2})],
        [
            update("booking", {"id": 1}, {"flight": 1, "ref": "q"}),
            insert("payment", {"id": 1}, {"ref": "q", "amount": 1}),
        ],
        [
            update("booking", {"id": 1}, {"flight": 1, "ref": "r2"}),
            update("payment", {"id": 2}, {"ref": "z", "amount": 1}),
        ],
        [
            update("booking", {"id": 1}, {"flight": 1, "ref": "r2"}),
            update("payment", {"id": 2}, {"ref": "r2", "amount": 3}),
        ],
        [update("booking", {"id": 1}, {"flight": 8}), update("kind", {"code": "k8"}, {"seats": 2})],
        [insert("booking", {"id": 7}, {"flight": 8}), update("kind", {"code": "k8"}, {"seats": 2})],
        [update("flight", {"id": 1}, {"kind": "k2", "status": "s"}), update("kind", {"code": "k2"}, {"seats": 2})],
    ],
)
def test_what_has_something_in_common_goes_alone(new_ledger: NewLedger, changes: list[dict[str, Any]]) -> None:
    log = booked(1, 2)
    for change in changes:
        log.transaction(change)
    assert told(new_ledger, log, ALL) == []


def test_a_member_that_is_only_loaded_keeps_them_apart(new_ledger: NewLedger) -> None:
    log = started(*TABLES)
    for each in (1, 2):
        log.transaction(insert("flight", {"id": each}, {"kind": "x", "status": "s"}))
    log.transaction(insert("booking", {"id": 1}, {"flight": 1}))
    log.transaction(update("flight", {"id": 1}, {"kind": "x", "status": "t"}))
    assert told(new_ledger, log, plan(*TABLES.values(), entities={"seat": FLIGHT})) == []


def test_what_an_image_does_not_tell_keeps_them_apart(new_ledger: NewLedger) -> None:
    log = booked(1, 2)
    log.transaction(update("booking", {"id": 1}, {"flight": 1, "ref": PLACEHOLDER}))
    log.transaction(update("booking", {"id": 2}, {"flight": 2, "ref": "a"}))
    assert told(new_ledger, log, ALL) == []


def test_a_truncate_stands_alone(new_ledger: NewLedger) -> None:
    log = booked(1, 2)
    log.transaction(truncate("bag"))
    log.transaction(update("booking", {"id": 1}, {"flight": 1, "ref": "a"}))
    log.transaction(update("booking", {"id": 2}, {"flight": 2, "ref": "b"}))
    assert told(new_ledger, log, ALL) == [2]


@pytest.mark.parametrize("lost", ["a row", "changes"])
def test_a_store_that_lacks_rows_has_no_groups(new_ledger: NewLedger, lost: str) -> None:
    """A row that is changed may be one that comes into documents."""
    log = booked(1, 2)
    if lost == "a row":
        log.transaction(update("payment", {"id": 1}, {"ref": "r1", "amount": 2**40}))
    else:
        control = change_log.Control(reason="x", tables=["public.payment"], ts_ms=1_795_363_190_994)
        log.raw(change_log.key("gap"), change_log.encode(control))
    log.transaction(update("payment", {"id": 1}, {"ref": "r1", "amount": 3}))
    log.transaction(update("booking", {"id": 2}, {"flight": 2, "ref": "r1"}))
    log.transaction(update("bag", {"booking": 1, "n": 1}, {"weight": 3}))
    assert told(new_ledger, log, ALL) == []


def test_keys_in_two_spellings_go_one_by_one(new_ledger: NewLedger) -> None:
    price = table("price", "amount", column("amount", "numeric"), column("n", "int4"))
    log = started("price")
    for amount in ("1", "2", "3"):
        log.transaction(insert("price", {"amount": amount}, {"n": 1}))
    assert told(new_ledger, log, plan(price, entities={"tag": Entity("tag", "public.price")})) == []
