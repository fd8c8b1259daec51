"""Dead letters that somebody said to try again: their events meet the condition once more."""

from __future__ import annotations

from agent import activation_store, triggers
from agent.activations import Batch, Message
from agent.database import Connection
from agent.triggers import Broken, Verdict
from wakestream import events
from wakestream.program import CompiledTrigger, Program

BATCH = 100


def retry(connection: Connection, program: Program) -> int:
    """Evaluate what was marked to be tried again; returns how many letters that were.

    A letter that fails again is open again. One that is dealt with gives up its event, which by then stands in its
    activation if there is one.
    """
    found = connection.execute(
        'select id, topic, partition, "offset", subject, event::text from wake.dead_letter'
        " where stage = 'agent' and state = 'retried' and event is not null"
        " order by id for update skip locked limit %s",
        (BATCH,),
    ).fetchall()
    for letter, topic, partition, offset, trigger, event in found:
        message = Message(topic, partition, offset, event.encode())
        reason = _again(connection, program, trigger, message)
        if reason is None:
            connection.execute("update wake.dead_letter set event = null where id = %s", (letter,))
        else:
            connection.execute(
                "update wake.dead_letter set state = 'open', reason = %s, attempts = attempts + 1,"
                " at = clock_timestamp() where id = %s",
                (reason, letter),
            )
    return len(found)


def _again(connection: Connection, program: Program, name: str, message: Message) -> str | None:
    """Why it failed again, or None."""
    trigger = program.triggers.get(name)
    if name in program.held:
        return f"trigger `{name}` is held: {program.held[name]}"
    if trigger is None:
        return f"the configuration has no trigger `{name}` any more"
    images = triggers.Images(events.parse(message.payload))
    verdict = _verdict(trigger, images, program)
    if isinstance(verdict, Broken):
        return verdict.message
    batch = Batch()
    batch.add(trigger, images.event, message, verdict)
    activation_store.insert(connection, batch.activations)
    activation_store.fire(connection, batch.firings, program)  # whatever it would have waited for: that time has passed
    activation_store.write_counts(connection, batch.counts)
    return None


def _verdict(trigger: CompiledTrigger, images: triggers.Images, program: Program) -> Verdict:
    return triggers.judge(trigger, images, depth_limit=program.config.limits.depth)
