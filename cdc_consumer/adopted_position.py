"""How far the topics of an adopted connector are read: beside the source's position, moved in the same transaction.

Several partitions are merged into one order, which depends on how far each had come. So what is read next is written
down, durably, before anything of it is published: a crash repeats exactly that stretch, in the same order, with the
same bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cdc_consumer import position
from wakestream.ledger import Connection


class Input(msgspec.Struct):
    """One topic."""

    id: str
    """Kafka's own: another one after the topic was deleted and made anew."""
    table: str
    next: list[int]
    """The next offset of each partition."""
    snapshot_lsn: int | None = None
    """Where its table's last snapshot stands; what was changed before it may be in its rows already."""


Inputs = dict[str, Input]
"""By topic."""


class Loss(msgspec.Struct, frozen=True):
    """Changes that may be missing, declared before anything behind them."""

    tables: list[str]
    reason: str
    ts_ms: int
    log: int
    inputs: Inputs
    """Where is read on."""
    identity: tuple[str, int]
    """System identifier and timeline of the database from there on."""


class Stretch(msgspec.Struct, frozen=True):
    """What is read next."""

    until: dict[str, list[int]] = {}
    """By topic, the end in each partition."""
    loss: Loss | None = None


def load(connection: Connection, source: str) -> tuple[Inputs, Stretch | None] | None:
    """Where a source is read, and what of it was under way; None for one that was never adopted."""
    row = connection.execute(
        "select inputs::text, stretch::text from wake.adopted_position where source = %s", (source,)
    ).fetchone()
    if row is None:
        return None
    inputs = msgspec.json.decode(row[0], type=Inputs)
    return inputs, None if row[1] is None else msgspec.json.decode(row[1], type=Stretch)


def create(connection: Connection, source: str, inputs: Inputs) -> None:
    """The first position of a source."""
    connection.execute("insert into wake.adopted_position (source, inputs) values (%s, %s)", (source, _text(inputs)))


def write_down(connection: Connection, source: str, epoch: int, stretch: Stretch) -> None:
    """Commit what is read next, so that it is the same after a crash. Raises `FatalError` for a former owner."""
    position.claim(connection, source, epoch)
    position.make_durable(connection)
    connection.execute("update wake.adopted_position set stretch = %s where source = %s", (_text(stretch), source))
    connection.commit()


def finish(connection: Connection, source: str, inputs: Inputs) -> None:
    """What was under way is applied, and these come next; travels with the cycle's commit."""
    connection.ask(
        "update wake.adopted_position set inputs = %s, stretch = null where source = %s", (_text(inputs), source)
    )


def forget_rows(connection: Connection, source: str) -> None:
    """The LSNs of another database say nothing any more."""
    connection.execute("delete from wake.adopted_row where source = %s", (source,))


def moved(inputs: Inputs, stretch: Stretch) -> Inputs:
    """The inputs behind a stretch."""
    return {
        topic: msgspec.structs.replace(each, next=stretch.until.get(topic, each.next)) for topic, each in inputs.items()
    }


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
