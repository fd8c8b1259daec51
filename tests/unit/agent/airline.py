"""A small airline for tests of the agent: a catalogue, a configuration, and events as the consumer makes them."""

from __future__ import annotations

import itertools
import json
from typing import Any

from wakestream.capture import Capture, CapturedTable, Computed, Entity, Member, Revision
from wakestream.catalogue import Catalogue, Column, Table

TOPIC = "airline.context"
TIME = "2026-11-22T11:53:11.769Z"

FLIGHT = Table(
    "public",
    "flight",
    (
        Column("id", "integer", "int4", not_null=True),
        Column("status", "text", "text"),
        Column("delay_min", "integer", "int4"),
        Column("fare", "numeric", "numeric"),
        Column("departs_at", "timestamp with time zone", "timestamptz"),
        Column("crew", "text[]", "text", array=True),
        Column("remarks", "text", "text"),
    ),
    key=("id",),
)
BOOKING = Table(
    "public",
    "booking",
    (
        Column("id", "integer", "int4", not_null=True),
        Column("flight_id", "integer", "int4"),
        Column("customer_id", "integer", "int4"),
        Column("status", "text", "text"),
        Column("email", "text", "text"),
        Column("passport_no", "text", "text"),
        Column("remarks", "text", "text"),
    ),
    key=("id",),
)
AUDIT = Table("public", "audit", (Column("note", "text", "text"),))

CATALOGUE = Catalogue("airline", "7000000000000000001", 1, 180000, {t.label: t for t in (FLIGHT, BOOKING, AUDIT)})
CAPTURE = Capture(
    {
        "public.flight": CapturedTable(),
        "public.booking": CapturedTable(exclude=("passport_no",), mask={"email": "hash"}, untrusted=("remarks",)),
        "public.audit": CapturedTable(),
    },
    {
        "booking": Entity(
            "booking",
            "public.booking",
            (
                Member("flight", "public.flight", columns=("flight_id",), references=("id",)),
                Member("alternatives", "public.flight", many=True, where="true", limit=5),
            ),
            (Computed("wait_min", "0", "integer"),),
        )
    },
)
REVISION = Revision(1, "airline", CATALOGUE, CAPTURE)

CONFIG = """\
kafka: {{bootstrap_servers: "127.0.0.1:1"}}
connect: {{url: "http://127.0.0.1:1", secrets: /nowhere}}
ledger: {{url: "{ledger}", lookups: "{lookups}"}}
sources:
  airline:
    capture: "{ledger}"
    tables:
      public.flight: {{}}
      public.booking: {{exclude: [passport_no], mask: {{email: hash}}, untrusted: [remarks]}}
      public.audit: {{}}
connections: {{ops: "{ops}"}}
entities:
  booking:
    root: airline.public.booking
    include:
      flight: {{}}
      alternatives: {{table: public.flight, many: true, where: "true", limit: 5}}
triggers:
  disrupted:
    entity: booking
    when: after.status == 'confirmed' && after.flight.status in ['delayed', 'cancelled']
    fire: enter
    agent: rebooker
lookups:
  seats:
    source: airline
    sql: select seat_no from seat where flight_id = :flight and free order by seat_no
    bind: {{flight: after.flight_id}}
    rows: 2
agents:
  rebooker: {{model: default, instructions: rebooker.md, lookups: [seats], actions: [rebook, notify], attempts: 3}}
actions:
  rebook:
    kind: sql
    description: moves the booking to another flight
    connection: ops
    statement: update booking set flight_id = :to_flight, note = :note where id = :booking and flight_id = :from_flight
    rows: 1
    bind: {{booking: after.id, from_flight: after.flight_id}}
    choose: {{to_flight: {{from: after.alternatives, key: id}}}}
    parameters: {{note: {{type: string, maxLength: 80}}}}
    approval: chosen.to_flight.fare > after.flight.fare + 200.0
  notify:
    kind: webhook
    url: "{webhook}"
    secret: whsec_c2VjcmV0
    bind: {{customer: after.customer_id}}
    parameters: {{text: {{type: string, maxLength: 120}}}}
    approval: never
models:
  default: {{base_url: "{model}", name: scripted, retries: 1, timeout: 5s, price: {{input: 1.0, output: 10.0}}}}
"""
INSTRUCTIONS = """\
You rebook passengers of disrupted flights. Prefer the first option.
{% for seat in lookups.seats %}Free seat: {{ seat.seat_no }}
{% endfor %}"""


def flight(number: int, **values: Any) -> dict[str, Any]:
    """A row of `flight`."""
    row = {"id": number, "status": "on_time", "delay_min": 0, "fare": 100.0, "departs_at": "2026-11-22T15:00:00+00:00"}
    return {**row, "crew": ["ann", "bob"], "remarks": None, **values}


def booking(number: int, **values: Any) -> dict[str, Any]:
    """A document of entity `booking`."""
    row = {"id": number, "flight_id": 7, "customer_id": 3, "status": "confirmed", "email": "hash:1", "remarks": None}
    alternatives = [flight(8, fare=150.0), flight(9, fare=500.25)]
    return {**row, "flight": flight(7), "alternatives": alternatives, "wait_min": 0, **values}


_offsets = itertools.count(1)


def event(  # noqa: PLR0913
    name: str,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
    *,
    changed: list[str] | None = None,
    missing: tuple[str, ...] = (),
    cause: dict[str, Any] | None = None,
    snapshot: bool = False,
    kind: str | None = None,
    offset: int | None = None,
) -> dict[str, Any]:
    """A context event of a table (`public.flight`) or an entity (`booking`)."""
    offset = next(_offsets) if offset is None else offset
    entity = "." not in name
    key = {"id": (after or before or {"id": 0})["id"]}
    op = "insert" if before is None else "delete" if after is None else "update"
    if changed is None and before is not None and after is not None:
        changed = [column for column in after if before.get(column) != after[column]]
    tail = f"{name}/{key['id']}"
    data = {
        **({"entity": name, "rows": []} if entity else {"op": op}),
        **{"key": key, "before": before, "after": after, "changed": changed, "missing": missing, "untrusted": []},
        "position": {"log": 1, "offset": offset, "seq": 1, "of": 1, "commit": offset * 10},
        **{"snapshot": snapshot, "cause": cause},
    }
    type_ = kind or (
        "entity.changed" if entity else {"insert": "row.inserted", "update": "row.updated"}.get(op, "row.deleted")
    )
    identity = f"airline/1/{offset * 10}/{tail}" if entity else f"airline/1/{offset * 10}.1"
    source = f"wake://airline/{name}"
    return {
        "specversion": "1.0",
        "id": identity,
        "source": source,
        "type": type_,
        "subject": tail,
        "time": TIME,
        "data": data,
    }


def payload(found: dict[str, Any]) -> bytes:
    """The event as Kafka carries it."""
    return json.dumps(found).encode()


def disruption(number: int = 42, **values: Any) -> dict[str, Any]:
    """The flight of a booking becomes delayed."""
    after = booking(number, **values)
    after["flight"] = {**after["flight"], "status": "delayed"}
    return event("booking", booking(number, **values), after, changed=["flight.status"])
