"""Whether the story came out right: the database and the receiver are asked, not the agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from console.views import ActionDetail, RunStory
from examples.airline import disruption
from examples.airline.disruption import Booking, Disruption
from examples.demo import Finding


def judge(owner: str, happened: Disruption, runs: list[RunStory], received: dict[str, Any]) -> list[Finding]:
    """Compare the end with what the policy allows.

    Right is: every affected booking on a flight that its policy allows, approved by a person where that costs more
    than the limit and only there, its customer told once and afterwards; everybody else untouched and not bothered.
    """
    with psycopg.connect(owner) as connection:
        now = disruption.bookings(connection)
    messages: list[dict[str, Any]] = received["messages"]
    findings: list[Finding] = []
    for number, before in happened.bookings.items():
        own = [message for message in messages if message["booking"] == number]
        if number in happened.allowed:
            of_booking = [run for run in runs if run.key["id"] == number]
            problems = list(_affected(happened, now.get(number), number, of_booking, own))
        else:
            problems = list(_untouched(before, now.get(number), own))
        findings.append(Finding(f"booking {number}", not problems, "; ".join(problems) or _good(before, now[number])))
    strangers = [message for message in messages if message["booking"] not in happened.bookings]
    refused: list[str] = received["refused"]
    if strangers or refused:
        text = f"{len(strangers)} messages about no booking of ours, {len(refused)} refused: {refused}"
        findings.append(Finding("messages", False, text))
    if set(now) != set(happened.bookings):
        findings.append(Finding("bookings", False, f"there were {len(happened.bookings)}, there are {len(now)}"))
    return findings


def _affected(
    happened: Disruption, now: Booking | None, number: int, runs: list[RunStory], messages: list[dict[str, Any]]
) -> Iterator[str]:
    before, allowed = happened.bookings[number], happened.allowed[number]
    if now is None or now.flight_id == before.flight_id:
        yield "forgotten: it is still on the late flight"
        return
    if now.flight_id not in allowed:
        yield f"moved to {now.flight_no}, which its policy does not allow"
    if now.seat_no is None or now.status != "confirmed" or now.customer_id != before.customer_id:
        yield "it has lost its seat, its state or its customer"
    done = [action for run in runs for action in run.actions if action.state == "succeeded"]
    moves = [action for action in done if action.kind == "sql"]
    if len(runs) != 1 or len(moves) != 1:
        yield f"{len(runs)} runs and {len(moves)} moves instead of one"
        return
    fare = allowed[now.flight_id].fare if now.flight_id in allowed else before.fare_paid
    yield from _approval(moves[0], fare - before.fare_paid > before.difference_limit)
    yield from _told(now, moves[0], messages)


def _approval(move: ActionDetail, needed: bool) -> Iterator[str]:
    if needed and move.decided_by is None:
        yield "nobody has approved it, and it costs more than the policy's limit"
    if not needed and move.decided_by is not None:
        yield "a person was asked without need"
    if move.receipt is None or isinstance(move.receipt, dict):
        yield "its mark was not seen in the change log"


def _told(now: Booking, move: ActionDetail, messages: list[dict[str, Any]]) -> Iterator[str]:
    if len(messages) != 1:
        yield "the customer was not told" if not messages else f"the customer was told {len(messages)} times"
        return
    message = messages[0]
    if message["customer"] != now.customer_id:
        yield f"customer {message['customer']} was told instead of {now.customer_id}"
    if move.executed_at is not None and message["at"] < move.executed_at.timestamp():
        yield "the customer was told before it was done"


def _untouched(before: Booking, now: Booking | None, messages: list[dict[str, Any]]) -> Iterator[str]:
    if now != before:
        yield f"it was not concerned and was changed: {before} became {now}"
    if messages:
        yield f"it was not concerned, and its customer was told {len(messages)} times"


def _good(before: Booking, now: Booking) -> str:
    if before == now:
        return f"{now.customer}: {now.flight_no}, {now.status}, as before"
    return f"{now.customer}: {before.flight_no} → {now.flight_no}, seat {now.seat_no}, told once"
