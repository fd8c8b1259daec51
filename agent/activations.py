"""What came of a batch of events, collected in memory and written in one ledger transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent import json_text, positions
from agent.database import Connection
from agent.positions import Moved, Owned, Place
from agent.triggers import Broken, Opened, Quiet, Suppressed, Verdict
from wakestream.errors import EventError
from wakestream.events import ContextEvent
from wakestream.program import CompiledTrigger


@dataclass(frozen=True, slots=True)
class Message:
    """One record of a context topic."""

    topic: str
    partition: int
    offset: int
    payload: bytes

    @property
    def source(self) -> str:
        """The configured name of the source."""
        return self.topic.removesuffix(".context")


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, or a condition over it, that cannot be processed."""

    message: Message
    kind: str
    reason: str
    subject: str = ""
    event: str | None = None


@dataclass(frozen=True, slots=True)
class NewActivation:
    """A trigger that fired, or was kept from it."""

    trigger: CompiledTrigger
    event: ContextEvent
    payload: str
    verdict: Opened | Suppressed

    @property
    def id(self) -> str:
        """The same whenever the event is read again."""
        return f"{self.trigger.name}/{self.event.id}"


@dataclass(slots=True)
class Batch:
    """What came of the events read at once."""

    moved: dict[Place, Moved] = field(default_factory=dict[Place, Moved])
    activations: list[NewActivation] = field(default_factory=list[NewActivation])
    letters: list[Letter] = field(default_factory=list[Letter])
    counts: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict[tuple[str, str], tuple[int, str]])

    def add(self, trigger: CompiledTrigger, event: ContextEvent, message: Message, verdict: Verdict) -> None:
        """Note what one trigger made of one event."""
        match verdict:
            case Quiet("null"):
                self._count(trigger, "null", event)
            case Quiet():
                pass
            case Broken(reason):
                self._count(trigger, "failed", event)
                text = message.payload.decode()
                self.letters.append(Letter(message, "condition", reason, trigger.name, text))
            case Opened() | Suppressed():
                self._count(trigger, "opened" if isinstance(verdict, Opened) else "suppressed", event)
                self.activations.append(NewActivation(trigger, event, _text(message.payload), verdict))

    @property
    def opened(self) -> list[NewActivation]:
        """The activations that get a run."""
        return [each for each in self.activations if isinstance(each.verdict, Opened)]

    @property
    def matters(self) -> bool:
        """Whether anything but positions and counts is in it."""
        return bool(self.activations or self.letters)

    def _count(self, trigger: CompiledTrigger, outcome: str, event: ContextEvent) -> None:
        number, _ = self.counts.get((trigger.name, outcome), (0, ""))
        self.counts[trigger.name, outcome] = number + 1, event.id


def write(connection: Connection, batch: Batch, owned: Mapping[Place, Owned], digest: str) -> None:
    """Write a batch with its positions; the caller's transaction makes it one."""
    positions.move(connection, batch.moved, owned)
    write_activations(connection, batch.activations, digest)
    write_letters(connection, batch.letters)
    write_counts(connection, batch)
    if batch.letters:
        connection.execute("select pg_notify('wake_letter', '')")


def write_activations(connection: Connection, found: list[NewActivation], digest: str) -> None:
    """Activations, and a run for each open one; those that exist already stay as they are."""
    if not found:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into wake.activation"
            " (id, trigger, source, event_id, subject, key, state, reason, depth, event, committed_at)"
            " values (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s::jsonb, %s) on conflict do nothing",
            [_activation_row(each) for each in found],
        )
        cursor.executemany(
            "insert into wake.run (id, activation, agent, trigger, key, state, config_digest)"
            " values (%s, %s, %s, %s, %s::jsonb, 'pending', %s) on conflict do nothing",
            [
                (each.id, each.id, each.trigger.agent.name, each.trigger.name, _key(each.event), digest)
                for each in found
                if isinstance(each.verdict, Opened)
            ],
        )
    connection.execute("select pg_notify('wake_run', '')")


def write_letters(connection: Connection, letters: list[Letter]) -> None:
    """Dead letters; one that is there already stays as it is."""
    if not letters:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            'insert into wake.dead_letter (stage, kind, reason, topic, partition, "offset", digest, subject, event)'
            " values ('agent', %s, %s, %s, %s, %s, %s, %s, %s::jsonb) on conflict do nothing",
            [
                (
                    *(each.kind, each.reason, each.message.topic, each.message.partition, each.message.offset),
                    *(hashlib.sha256(each.message.payload).hexdigest(), each.subject, each.event),
                )
                for each in letters
            ],
        )


def write_counts(connection: Connection, batch: Batch) -> None:
    """Add to what conditions came to."""
    for (trigger, outcome), (number, last) in sorted(batch.counts.items()):
        connection.execute(
            "insert into wake.trigger_count (trigger, outcome, count, last_event) values (%s, %s, %s, %s)"
            " on conflict (trigger, outcome) do update set count = trigger_count.count + excluded.count,"
            " last_event = excluded.last_event, last_at = clock_timestamp()",
            (trigger, outcome, number, last),
        )


def _activation_row(each: NewActivation) -> tuple[object, ...]:
    event, verdict = each.event, each.verdict
    state, reason = ("open", None) if isinstance(verdict, Opened) else ("suppressed", verdict.reason)
    return (
        *(each.id, each.trigger.name, each.trigger.source, event.id, event.subject, _key(event)),
        *(state, reason, verdict.depth, each.payload, event.at),
    )


def _key(event: ContextEvent) -> str:
    return json_text.dump(event.data.key or {})


def _text(payload: bytes) -> str:
    if b"\\u0000" in payload:
        raise EventError("not a context event", detail="it holds a character that no PostgreSQL row can hold")
    return payload.decode()
