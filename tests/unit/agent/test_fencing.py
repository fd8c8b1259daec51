from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent import fencing
from agent.action_store import Proposed
from tests.unit.agent import airline
from tests.unit.agent.conftest import MakeWorld, World
from wakestream import fences
from wakestream.capture import Computed
from wakestream.events import parse
from wakestream.fences import Fence, FencedRow, Move


def proposed(name: str = "rebook", **chosen: Any) -> Proposed:
    return Proposed(1, name, "sql", "approved", {}, chosen, {}, {}, "never", "")


def fence(world: World, event: dict[str, Any], name: str = "rebook", **chosen: Any) -> Fence:
    trigger = world.program.triggers["disrupted"]
    events = [parse(airline.payload(event))]
    (made,) = fencing.fenced([proposed(name, **chosen)], trigger.fences, trigger.agent, events)
    assert made.fence is not None
    return made.fence


def rows(made: Fence) -> dict[str, Any]:
    return {row.subject: row.values for row in made.rows}


def test_what_condition_bind_choose_and_approval_read_is_fenced(world: World) -> None:
    event = airline.disruption()
    made = fence(world, event, to_flight=event["data"]["after"]["alternatives"][1])
    assert rows(made) == {
        "public.booking/42": {"flight_id": 7, "id": 42, "status": "confirmed"},
        "public.flight/7": {"fare": 100.0, "status": "delayed"},
        "public.flight/9": {"fare": 500.25},
    }
    position = event["data"]["position"]
    assert (made.source, made.log, made.offset) == ("airline", position["log"], position["offset"])
    assert made.system_identifier == airline.CATALOGUE.system_identifier
    assert made.without == []


def test_an_action_rests_on_what_it_reads_itself(world: World) -> None:
    made = fence(world, airline.disruption(), "notify")
    assert rows(made) == {
        "public.booking/42": {"customer_id": 3, "flight_id": 7, "status": "confirmed"},
        "public.flight/7": {"status": "delayed"},
    }


@pytest.mark.parametrize(
    ("path", "subject", "columns"),
    [
        ("after.flight.departs_at", "public.flight/7", {"status", "departs_at"}),
        ("after.flight", "public.flight/7", {"id", "status", "delay_min", "fare", "departs_at", "crew", "remarks"}),
        ("after.alternatives", "public.flight/8", {*airline.flight(8)}),
    ],
)
def test_further_paths(make_world: MakeWorld, path: str, subject: str, columns: set[str]) -> None:
    world = make_world(("approval: never", f"approval: never\n    fence: [{path}]"))
    values = rows(fence(world, airline.disruption(), "notify"))[subject]
    assert set(values) == columns


@pytest.mark.parametrize(
    ("sql", "of_booking", "of_flight"),
    [
        ("0", set[str](), set[str]()),
        ("flight.delay_min + 1", set[str](), {"delay_min"}),
        ('coalesce(booking."remarks", flight.STATUS)', {"remarks"}, {"remarks", "status"}),
        ("delay_min", set[str](), {"delay_min"}),
        ("to_jsonb(flight)", set[str](), {*airline.flight(7)}),
        ("to_jsonb(booking.*)", {"id", "remarks"}, set[str]()),
        ("(select count(*) from jsonb_each(to_jsonb(flight .*)))", set[str](), {*airline.flight(7)}),
    ],
)
def test_a_computed_field_rests_on_the_columns_that_its_sql_names(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch, sql: str, of_booking: set[str], of_flight: set[str]
) -> None:
    entity = msgspec.structs.replace(airline.CAPTURE.entities["booking"], computed=(Computed("wait_min", sql, "int"),))
    capture = msgspec.structs.replace(airline.CAPTURE, entities={"booking": entity})
    monkeypatch.setattr(airline, "REVISION", msgspec.structs.replace(airline.REVISION, capture=capture))
    world = make_world(("approval: never", "approval: never\n    fence: [after.wait_min]"))
    found = rows(fence(world, airline.disruption(), "notify"))
    read_anyway = {"flight_id", "customer_id", "status"}
    assert set(found["public.booking/42"]) == of_booking | read_anyway
    assert set(found["public.flight/7"]) == of_flight | {"status"}


def test_a_masked_or_excluded_column_is_never_fenced(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = (Computed("wait_min", "booking is null", "bool"),)
    entity = msgspec.structs.replace(airline.CAPTURE.entities["booking"], computed=computed)
    capture = msgspec.structs.replace(airline.CAPTURE, entities={"booking": entity})
    monkeypatch.setattr(airline, "REVISION", msgspec.structs.replace(airline.REVISION, capture=capture))
    world = make_world(("approval: never", "approval: never\n    fence: [after.wait_min]"))
    shown = rows(fence(world, airline.disruption(), "notify"))["public.booking/42"]
    assert not {"email", "passport_no"} & set(shown)


def test_what_the_event_could_not_know_is_not_fenced(world: World) -> None:
    event = airline.disruption()
    event["data"]["missing"] = ("after.flight.status",)
    assert rows(fence(world, event, "notify"))["public.flight/7"] == {}


def test_a_row_that_is_gone_is_fenced_as_absent(world: World) -> None:
    event = airline.event("booking", airline.booking(42), None)
    assert rows(fence(world, event, "notify")) == {"public.booking/42": None}


def test_a_member_that_is_not_there_is_fenced_by_what_leads_to_it(world: World) -> None:
    event = airline.disruption()
    event["data"]["after"] |= {"flight": None, "flight_id": None}
    assert rows(fence(world, event, "notify")) == {
        "public.booking/42": {"customer_id": 3, "flight_id": None, "status": "confirmed"}
    }


ROW = FencedRow("public.flight", {"id": 7}, "public.flight/7", {"status": "delayed"})


@pytest.mark.parametrize(
    ("row", "image", "told"),
    [
        (ROW, {"status": "delayed"}, []),
        (ROW, {"status": "cancelled"}, ['public.flight/7 status: "delayed" -> "cancelled"']),
        (ROW, None, ["public.flight/7 is gone"]),
        (FencedRow("t.x", {"id": 1}, "t.x/1", None), None, []),
        (FencedRow("t.x", {"id": 1}, "t.x/1", None), {"id": 1}, ["t.x/1 is there again"]),
        (FencedRow("t.x", {"id": 1}, "t.x/1", {"a": 1}, [{"a": 2}]), {"a": 2}, []),
        (FencedRow("t.x", {"id": 1}, "t.x/1", {"a": 1}, [{"a": 2}]), {"a": 1}, []),
        (FencedRow("t.x", {"id": 1}, "t.x/1", {"a": 1}, [{"a": 2}]), {"a": 3}, ["t.x/1 a: 2 -> 3"]),
    ],
)
def test_differences_in_words(row: FencedRow, image: fences.Image, told: list[str]) -> None:
    assert fences.differences([row], [image]) == told


def test_a_long_value_is_cut() -> None:
    (told,) = fences.differences([ROW], [{"status": "x" * 200}])
    assert len(told) < 120


@pytest.mark.parametrize(
    ("before", "after", "also"),
    [
        ({"status": "delayed", "fare": 1}, {"status": "boarding", "fare": 2}, [{"status": "boarding"}]),
        ({"status": "delayed", "fare": 1}, {"status": "delayed", "fare": 2}, []),
        ({"status": "cancelled"}, {"status": "boarding"}, []),
        ({"status": "delayed"}, None, [None]),
        ({"status": "cancelled"}, None, []),
        (None, {"status": "boarding"}, []),
    ],
)
def test_what_our_own_actions_made_of_a_row_counts_and_what_others_made_does_not(
    before: fences.Image, after: fences.Image, also: list[fences.Image]
) -> None:
    made = Fence("airline", "1", 1, 1, [ROW])
    move = Move("public.flight/7", before, after)
    (row,) = fences.after_own(made, [move, Move("public.flight/8", before, after)]).rows
    assert row.also == also
    assert fences.after_own(fences.after_own(made, [move]), [move]) == fences.after_own(made, [move])


def test_own_changes_follow_each_other() -> None:
    moves = [
        Move("public.flight/7", {"status": one}, {"status": other})
        for one, other in (("delayed", "boarding"), ("boarding", "gone"))
    ]
    (row,) = fences.after_own(Fence("airline", "1", 1, 1, [ROW]), moves).rows
    assert row.also == [{"status": "boarding"}, {"status": "gone"}]
