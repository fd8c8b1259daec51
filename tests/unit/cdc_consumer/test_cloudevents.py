"""Our events are CloudEvents: the SDK's own reader takes them."""

from __future__ import annotations

import json

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from cdc_consumer.collect import Piece
from cdc_consumer.decode import Change
from cdc_consumer.render import EntityChange, Message, Renderer
from cdc_consumer.tables import TablePlan
from cdc_consumer.waves import Row
from wakestream import events
from wakestream.capture import CapturedTable
from wakestream.catalogue import Column, Table

TABLE = Table("public", "flight", (Column("id", "integer", "int4"), Column("note", "text", "text")), ("id",))
PLAN = TablePlan("airline", TABLE, CapturedTable(untrusted=("note",)), "wake_placeholder")
RENDER = Renderer("airline", 1, 6)
PLACE = RENDER.at(Piece("transaction", 42, ts_ms=1795363190994, commit=493529872, tx=764))


def read(message: Message) -> CloudEvent:
    found = JSONFormat().read(CloudEvent, message.value)
    ours = events.parse(message.value.encode())
    assert (found.get_id(), found.get_subject(), found.get_type()) == (ours.id, ours.subject, ours.type)
    assert found.get_specversion() == "1.0"
    time = found.get_time()
    assert time is not None and time == ours.at
    return found


def test_rows() -> None:
    change = Change("u", "public.flight", b'{"id":7}', b"{}", order=3, lsn=99)
    row = Row(change, PLAN, '{"id":7}', before='{"id": 7, "note": "ä \\"quoted\\""}', after='{"id": 7, "note": null}')
    found = read(RENDER.row(PLACE, row, "null", 1, 2))
    assert found.get_id() == "airline/1/493529872.3"
    assert found.get_source() == "wake://airline/public.flight"
    assert json.loads(json.dumps(found.get_data()))["changed"] == ["note"]


def test_the_rest() -> None:
    change = EntityChange("booking", "booking/42", '{"id":42}', None, '{"id": 42}', ["a"], [], [], {})
    truncated = Row(Change("t", "public.flight", b"", None, order=1), PLAN)
    for message in (
        RENDER.entity(PLACE, change, "null", 2, 2),
        RENDER.truncate(PLACE, truncated, "null", 1, 1),
        RENDER.clock(PLACE, 1, 1),
        RENDER.gap(PLACE, 1, "open", ["public.flight"], "because", 1, 1),
    ):
        read(message)
