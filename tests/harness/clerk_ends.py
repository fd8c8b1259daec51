"""What must be true of the clerk's world once everything in it has settled, whatever was killed on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from confluent_kafka.cimpl import TopicPartition

from tests.harness import functions, tools
from tests.harness.clerk import FUNCTION_CALLS, REVIEW, TOOL_CALLS, Clerk
from tests.harness.waiting import eventually
from wakestream import kafka


def verify_all(
    clerk: Clerk, asked: Mapping[int, Sequence[float]], *, deaths: int, unsure: Collection[int] = ()
) -> None:
    """All of it; `asked` says when the model was asked about each ticket, `deaths` how many lives were cut short.

    Those that are `unsure` had their worker frozen before its question was seen: it may have been in the instant
    between its last look at the lease and the sending, and one more question may come when it wakes.
    """
    _verify_runs(clerk)
    _verify_actions(clerk)
    _verify_effects(clerk)
    _verify_receipts(clerk)
    _verify_model_calls(clerk, asked, unsure)
    _verify_webhooks(clerk, deaths)
    _verify_published(clerk)
    _verify_calls(clerk, deaths)
    _verify_handed(clerk)


def _verify_runs(clerk: Clerk) -> None:
    """Each ticket has one activation with one run, which succeeded or waits for a person."""
    runs = clerk.world.told(
        "select (r.key ->> 'id')::int, r.state, v.state, array_agg(a.state order by a.number)"
        " from wake.activation v join wake.run r on r.activation = v.id left join wake.action a on a.run = r.id"
        " where v.handed is null group by r.id, v.id order by 1"
    )
    assert [ticket for ticket, *_ in runs] == sorted(clerk.rows)
    for ticket, state, activation, actions in runs:
        open_ones = {"awaiting_approval", "unknown"} & set(actions)
        assert (activation, state) == ("done", "waiting" if open_ones else "succeeded"), (ticket, actions)


def _verify_actions(clerk: Clerk) -> None:
    """Every action ended as the rule and the person say; only what may not be repeated may be unknown."""
    found = clerk.world.told("select (bound ->> 'ticket')::int, name, state from wake.action order by run, number")
    unknown = [name for _, name, state in found if state == "unknown"]
    assert {*unknown} <= {"tell", "note"}, "what was cut short and may not be repeated is for a person to settle"
    spoken = {"approve": "succeeded", "reject": "rejected", "leave": "awaiting_approval"}
    wanted = Counter(
        (ticket, name, spoken[clerk.verdict(ticket)] if say == REVIEW else "succeeded")
        for ticket, say in clerk.rows.items()
        if say != "none"
        for name in say.rstrip("!").split("+")
    )
    assert Counter((t, n, "succeeded" if s == "unknown" else s) for t, n, s in found) == wanted


def _verify_effects(clerk: Clerk) -> None:
    """Each charge that succeeded happened once in the database, and no other happened at all."""
    charged = clerk.world.told(
        "select (bound ->> 'ticket')::int, arguments ->> 'note' from wake.action"
        " where name = 'charge' and state = 'succeeded'"
    )
    assert Counter(clerk.world.rows("select ticket, note from effect")) == Counter(charged)
    assert {note for _, note in charged} == {f"charged {ticket}" for ticket, _ in charged}
    done = {ticket: 1 for ticket, _ in charged}
    assert dict(clerk.world.rows("select id, done from ticket")) == {n: done.get(n, 0) for n in clerk.rows}


def _verify_receipts(clerk: Clerk) -> None:
    """Each charge that happened has its mark in the change log, with the two rows that it changed."""
    query = (
        "select a.id from wake.action a left join wake.receipt r on r.action = a.id and r.rows = 2"
        " where a.name = 'charge' and a.state = 'succeeded' and r.action is null"
    )
    eventually(lambda: not clerk.world.told(query), "a receipt for each charge")
    strays = "select action from wake.receipt except select id from wake.action where state = 'succeeded'"
    assert clerk.world.told(strays) == []


def _verify_model_calls(clerk: Clerk, asked: Mapping[int, Sequence[float]], unsure: Collection[int]) -> None:
    """One stored answer for each run, and no question that came after it."""
    stored = clerk.world.told(
        "select (r.key ->> 'id')::int, extract(epoch from s.at)::float"
        " from wake.run_step s join wake.run r on r.id = s.run where s.step like 'model:%' and r.agent = 'clerk'"
    )
    assert sorted(ticket for ticket, _ in stored) == sorted(clerk.rows)
    late = {ticket: [at for at in asked[ticket] if at > answered] for ticket, answered in stored}
    repeated = {ticket: times for ticket, times in late.items() if len(times) > (ticket in unsure)}
    assert not repeated, f"asked about after its answer was stored: {repeated}; {unsure=}"
    assert all(asked[ticket] for ticket, _ in stored)


def _verify_webhooks(clerk: Clerk, deaths: int) -> None:
    """One key for each action; more than one delivery only where that is allowed, and never two at once."""
    sent = {
        key: (name, ticket, state)
        for key, name, ticket, state in clerk.world.told(
            "select id, name, (bound ->> 'ticket')::int, state from wake.action where kind = 'webhook'"
        )
    }
    deliveries = clerk.target.deliveries()
    assert deliveries.keys() <= sent.keys()
    for key, (name, ticket, state) in sent.items():
        bodies = deliveries.get(key, [])
        assert all(body == {"ticket": ticket} for body in bodies)
        assert len(bodies) >= (0 if state == "unknown" else 1), key
        assert len(bodies) <= (1 if name == "tell" else 1 + deaths), key
    assert clerk.target.overlapping == []


def _ended(clerk: Clerk, name: str) -> dict[str, tuple[int, str]]:
    """Ticket and state of each action of that name."""
    query = "select id, (bound ->> 'ticket')::int, state from wake.action where name = %s"
    return {key: (ticket, state) for key, ticket, state in clerk.world.told(query, name)}


def _verify_published(clerk: Clerk) -> None:
    """Each event that was published is there once for who reads what is committed, where its receipt says."""
    consumer = kafka.reader(clerk.world.loaded.config.kafka, "test", at_end=True)
    topic, found = f"{clerk.world.source}-published", Counter[tuple[str, int, int]]()
    for partition in range(3):
        consumer.assign([TopicPartition(topic, partition, 0)])
        while (message := consumer.poll(30)) is not None and message.error() is None:
            headers: dict[str, Any] = dict(message.headers() or [])
            found[headers["Idempotency-Key"].decode(), partition, message.offset() or 0] += 1
    consumer.close()
    receipts = clerk.world.told(
        "select id, (result ->> 'partition')::int, (result ->> 'offset')::int from wake.action where name = 'publish'"
    )
    assert {state for _, state in _ended(clerk, "publish").values()} == {"succeeded"}
    assert found == Counter(receipts)


def _verify_calls(clerk: Clerk, deaths: int) -> None:
    """A tool is called once at most; a function again only where it may be, always with the action's key."""
    notes = Counter(call["key"] for call in tools.calls(clerk.world.directory / TOOL_CALLS))
    for key, (_, state) in _ended(clerk, "note").items():
        assert notes.pop(key, 0) in ((0, 1) if state == "unknown" else (1,)), key
    assert not notes
    counts = Counter(call["key"] for call in functions.calls(clerk.world.directory / FUNCTION_CALLS))
    for key, (_, state) in _ended(clerk, "count").items():
        assert state == "succeeded"
        assert 1 <= counts.pop(key) <= 1 + deaths
    assert not counts


def _verify_handed(clerk: Clerk) -> None:
    """Each hand-over made one run, one step deeper."""
    made = clerk.world.told(
        "select a.id || '/second', r.state, v.depth from wake.action a join wake.run r on r.id = a.result ->> 'run'"
        " join wake.activation v on v.id = r.activation where a.name = 'hand'"
    )
    handed = clerk.world.told("select id, state, 1 from wake.run where agent = 'second'")
    assert sorted(made) == sorted(handed)
    assert {state for _, state, _ in made} == {"succeeded"}
    assert len(made) == len(_ended(clerk, "hand"))
