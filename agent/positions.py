"""How far each partition of the context topics is read, and by whom: guarded by an epoch that a new owner raises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from agent.database import Connection, Cursor
from wakestream.errors import TakenOverError
from wakestream.events import NOTHING_SEEN

Place = tuple[str, int]
"""Topic and partition."""
Rank = tuple[int, int, int]
Start = Literal["end", "beginning"]


@dataclass(frozen=True, slots=True)
class Owned:
    """One partition that this process reads."""

    rank: Rank
    """The highest position seen: the reader's rule."""
    kafka_offset: int
    """Where to read on."""
    epoch: int


@dataclass(slots=True)
class Moved:
    """How far one batch moves a partition."""

    rank: Rank
    kafka_offset: int
    clock: datetime | None = None


def take(
    connection: Connection, ends: Mapping[Place, tuple[int, int]], *, owner: str, start: Start
) -> dict[Place, Owned]:
    """Become the owner of partitions, given the ends of each; those never read before start where `start` says."""
    owned: dict[Place, Owned] = {}
    for (topic, partition), (low, high) in sorted(ends.items()):
        row = connection.execute(
            'insert into wake.partition_position (topic, partition, log, "offset", seq, kafka_offset, epoch, owner)'
            " values (%s, %s, %s, %s, %s, %s, 1, %s) on conflict (topic, partition) do update"
            " set epoch = partition_position.epoch + 1, owner = excluded.owner, updated_at = clock_timestamp()"
            ' returning log, "offset", seq, kafka_offset, epoch',
            (topic, partition, *NOTHING_SEEN, high if start == "end" else low, owner),
        ).fetchone()
        if row is not None:
            owned[topic, partition] = Owned((row[0], row[1], row[2]), row[3], row[4])
    return owned


def resume(connection: Connection, owned: Mapping[Place, Owned]) -> dict[Place, Owned]:
    """What the ledger says of partitions that are ours; raises `TakenOverError` when one is not any more."""
    found: dict[Place, Owned] = {}
    for (topic, partition), mine in sorted(owned.items()):
        row = connection.execute(
            'select log, "offset", seq, kafka_offset, epoch from wake.partition_position'
            " where topic = %s and partition = %s",
            (topic, partition),
        ).fetchone()
        if row is None or row[4] != mine.epoch:
            raise _taken(topic, partition)
        found[topic, partition] = Owned((row[0], row[1], row[2]), row[3], row[4])
    return found


Moving = list[tuple[Place, Cursor]]
"""Partitions that are moved, each with the answer that says whether it still was ours."""


def move(connection: Connection, moved: Mapping[Place, Moved], owned: Mapping[Place, Owned]) -> Moving:
    """Move partitions in the transaction that writes what came of their events; give the answer to `require_ours`."""
    return [
        (
            place,
            connection.execute(
                'update wake.partition_position set log = %s, "offset" = %s, seq = %s, kafka_offset = %s,'
                " clock = greatest(%s, clock), updated_at = clock_timestamp()"
                " where topic = %s and partition = %s and epoch = %s returning epoch",
                (*to.rank, to.kafka_offset, to.clock, *place, owned[place].epoch),
            ),
        )
        for place, to in sorted(moved.items())
    ]


def require_ours(moving: Moving) -> None:
    """Before the commit: raises `TakenOverError` when another agent took one over; then nothing may be written."""
    for place, asked in moving:
        if asked.fetchone() is None:
            raise _taken(*place)


def _taken(topic: str, partition: int) -> TakenOverError:
    return TakenOverError(
        f"another agent took over {topic}[{partition}]; one agent reads a partition: start both with `--share`, "
        "or stop one"
    )
