"""Which situation the facts show, and what would mend it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from connectors.repair import Facts, situation

WELL = Facts(
    state="RUNNING",
    slot_status="reserved",
    slot_active=True,
    confirmed=900,
    offset=1000,
    identity=("7", 1),
    wal_end=2000,
    known_identity=("7", 1),
    commit=990,
    clock_age=1.0,
)
FIRST = {"known_identity": None, "commit": None, "clock_age": None}  # what is known before the consumer's first cycle


def named(**changes: Any) -> tuple[str, str] | None:
    found = situation(msgspec.structs.replace(WELL, **changes))
    return None if found is None else (found.name, found.way)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"slot_active": False, "clock_age": 30.0},  # it may just be restarting
        {"state": "PAUSED", "slot_active": False, "clock_age": 300.0},
        {"gaps": (("public.a",),), "reading": True},
        {**FIRST, "offset": None},  # the snapshot of a source that was just attached
        {**FIRST, "slot_status": None, "confirmed": None, "offset": None, "slot_active": False},
        {"offset": None, "reading": True, "commit": 5},
        {"confirmed": 1000},
    ],
)
def test_nothing_to_repair(changes: dict[str, Any]) -> None:
    assert named(**changes) is None


@pytest.mark.parametrize(
    ("changes", "name", "way"),
    [
        ({"identity": ("8", 1)}, "restored", "new history"),
        ({"identity": ("7", 2)}, "restored", "new history"),
        ({"wal_end": 980}, "restored", "new history"),
        ({"slot_status": None, "slot_active": False, "confirmed": None}, "slot missing", "new snapshot"),
        ({"slot_status": "lost", "slot_active": False}, "slot lost", "new snapshot"),
        ({"offset": None}, "offsets lost", "new snapshot"),
        ({"confirmed": 1001}, "slot ahead", "new snapshot"),
        ({"snapshot": "interrupted"}, "snapshot interrupted", "new snapshot"),
        ({"state": "FAILED"}, "failed", "restart"),
        ({"slot_active": False, "clock_age": 61.0}, "hanging", "restart"),
        ({"gaps": (("public.b",), ("public.a", "public.b"))}, "gap open", "read again"),
        ({"gaps": (("public.a", 'public.Sitz "Plan"'),)}, "gap open", "new snapshot"),
    ],
)
def test_each_situation_has_its_name(changes: dict[str, Any], name: str, way: str) -> None:
    assert named(**changes) == (name, way)


def test_the_gravest_is_named_first() -> None:
    everything: dict[str, Any] = {
        "identity": ("8", 1),
        "slot_status": "lost",
        "state": "FAILED",
        "gaps": (("public.a",),),
    }
    names: list[str] = []
    well: tuple[Any, ...] = (("7", 1), "reserved", "RUNNING", ())
    for name, value in zip([*everything], well, strict=True):
        found = named(**everything)
        assert found is not None
        names.append(found[0])
        everything[name] = value
    assert names == ["restored", "slot lost", "failed", "gap open"]
    assert named(**everything) is None


def test_a_gap_names_its_tables_once() -> None:
    found = situation(msgspec.structs.replace(WELL, gaps=(("public.b",), ("public.a", "public.b"))))
    assert found is not None
    assert found.tables == ("public.a", "public.b")
    assert "incremental snapshot" in found.cost
