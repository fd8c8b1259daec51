"""Rows for tests: one flight whose delay woke the rebooker, as consumer and agent would have written it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from console import sessions, views
from wakestream import ledger
from wakestream.ledger.models import Action, Activation, Base, DeadLetter, Receipt, Run, RunStep, TriggerCount

COMMITTED = datetime(2026, 11, 22, 11, 53, 11, 769000, tzinfo=UTC)
EVENT_ID = "airline/1/493529872.1"
RUN_ID = f"flight_delayed/{EVENT_ID}"
ACTION_ID = f"{RUN_ID}/1"
FARE = Decimal("12345678901234567890.10")

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": EVENT_ID,
    "source": "wake://airline/public.flight",
    "type": "row.updated",
    "subject": "public.flight/7",
    "time": "2026-11-22T11:53:11.769Z",
    "data": {
        "op": "update",
        "key": {"id": 7},
        "before": {"id": 7, "status": "scheduled", "fare": FARE},
        "after": {"id": 7, "status": "delayed", "fare": FARE},
        "changed": ["status"],
        "missing": [],
        "untrusted": [],
        "position": {"log": 1, "offset": 9, "seq": 1, "of": 1, "commit": 493529872, "tx": 5, "order": 1, "lsn": 4},
        "snapshot": False,
        "cause": None,
    },
}


class Seed:
    """Writes what other processes would have written."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Engine = ledger.engine(
            url,
            poolclass=NullPool,
            json_serializer=lambda value: views.plain_json(value),
            json_deserializer=sessions.read_json,
        )

    def add(self, *rows: Base) -> None:
        with Session(self.engine) as session, session.begin():
            for row in rows:
                session.add(row)
                session.flush()

    def get(self, model: type[Any], identity: Any) -> Any:
        with Session(self.engine, expire_on_commit=False) as session:
            return session.get(model, identity)

    def run(self, state: str = "waiting", *, number: int = 7, **fields: Any) -> str:
        event = EVENT_ID if number == 7 else f"airline/1/{number}.1"
        name = f"flight_delayed/{event}"
        document = EVENT | {"id": event, "subject": f"public.flight/{number}"}
        self.add(
            Activation(
                id=name,
                trigger="flight_delayed",
                source="airline",
                event_id=event,
                subject=f"public.flight/{number}",
                key={"id": number},
                state="open",
                depth=0,
                event=document,
                committed_at=COMMITTED,
            ),
            Run(
                **{
                    "id": name,
                    "activation": name,
                    "agent": "rebooker",
                    "trigger": "flight_delayed",
                    "key": {"id": number},
                    "state": state,
                    "decision": {"reason": "best one", "actions": []},
                }
                | fields
            ),
        )
        return name

    def action(self, state: str = "awaiting_approval", *, run: str = RUN_ID, number: int = 1, **fields: Any) -> str:
        name = f"{run}/{number}"
        self.add(
            Action(
                **{
                    "id": name,
                    "run": run,
                    "number": number,
                    "name": "rebook",
                    "kind": "sql",
                    "state": state,
                    "bound": {"booking": 42},
                    "chosen": {"to_flight": {"id": 9, "fare": FARE}},
                    "arguments": {"note": "sorry"},
                    "effect": {"statement": "update booking set flight_id = :to_flight", "values": {"to_flight": 9}},
                    "approval": "always",
                    "depth": 1,
                }
                | fields
            )
        )
        return name

    def step(self, step: str, run: str = RUN_ID, **fields: Any) -> None:
        self.add(RunStep(run=run, step=step, **fields))

    def receipt(self, action: str = ACTION_ID) -> None:
        seen = COMMITTED.replace(microsecond=919000)
        self.add(
            Receipt(
                action=action,
                source="airline",
                log=1,
                offset=11,
                commit=0x1_0000_00A0,
                rows=1,
                committed_at=COMMITTED,
                seen_at=seen,
            )
        )

    def letter(self, stage: str = "agent", state: str = "open", *, offset: int = 5, **fields: Any) -> int:
        letter = DeadLetter(
            **{
                "stage": stage,
                "kind": "condition",
                "reason": "division by zero",
                "topic": "airline.context",
                "partition": 2,
                "offset": offset,
                "digest": "00",
                "subject": "flight_delayed",
                "event": EVENT if stage == "agent" else None,
                "state": state,
            }
            | fields
        )
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.add(letter)
        return letter.id

    def count(self, outcome: str, count: int) -> None:
        self.add(TriggerCount(trigger="flight_delayed", outcome=outcome, count=count, last_event=EVENT_ID))
