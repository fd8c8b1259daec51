"""Another agent takes over: an activation and a run of its own for the same event, one step deeper."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from agent import json_text
from agent.database import Connection
from agent.effects.outcome import Failed, Material, Outcome, Pending, Recorder, Setting, Succeeded
from wakestream.config.actions import RunAction


class RunPlan(msgspec.Struct, frozen=True):
    """The effect as the ledger keeps it."""

    agent: str
    reason: str
    """Why, in the words of the model that hands over."""
    bound: dict[str, Any]
    chosen: dict[str, Any]
    arguments: dict[str, Any]
    untrusted: list[str] = []
    """What the run that hands over saw that strangers may have written: who takes over has seen it, too."""


class RunEffect:
    """Hands over: nothing happens outside the ledger, so the new run is written with the action's own end."""

    def __init__(self, depth_limit: int) -> None:
        self._depth_limit = depth_limit

    @classmethod
    def open(cls, setting: Setting) -> RunEffect:
        """With the limit that ends agents that hand over in circles."""
        return cls(setting.config.limits.depth)

    @staticmethod
    def plan(material: Material) -> dict[str, Any]:
        """Who takes over, and what is told."""
        settings = cast("RunAction", material.action.settings)
        saw = list(material.seen["event"]["untrusted"])
        plan = RunPlan(settings.agent, material.reason, material.bound, material.chosen, material.arguments, saw)
        return msgspec.structs.asdict(plan)

    def execute(self, action: Pending, record: Recorder) -> Outcome:
        """Make the run, unless too many actions led here."""
        plan = msgspec.convert(action.effect, RunPlan)
        if action.cause.depth >= self._depth_limit:
            return Failed(f"depth: {action.cause.depth} actions led here, limits.depth is {self._depth_limit}")
        made = f"{action.id}/{plan.agent}"
        handed = {"action": action.name, "by": action.id, **msgspec.structs.asdict(plan)}
        return Succeeded({"run": made}, lambda connection: _hand_over(connection, action, plan.agent, made, handed))

    def settle(self, action: Pending, record: Recorder) -> Outcome:
        """An attempt that was cut short has written nothing."""
        return self.execute(action, record)


def _hand_over(connection: Connection, action: Pending, agent: str, made: str, handed: dict[str, Any]) -> None:
    connection.execute(
        "insert into wake.activation"
        " (id, trigger, source, event_id, subject, key, state, reason, depth, event, committed_at, batch, handed)"
        " select %s, a.trigger, a.source, a.event_id, a.subject, a.key, 'open', %s, %s, a.event, a.committed_at,"
        " a.batch, %s::jsonb from wake.activation a join wake.run r on r.activation = a.id where r.id = %s",
        (made, f"handed over by {action.id}", action.cause.depth, json_text.storable(handed), action.cause.run),
    )
    connection.execute(
        "insert into wake.run (id, activation, agent, trigger, key, subject, state, config_digest, rank)"
        " select %s, %s, %s, r.trigger, r.key, r.subject, 'pending', r.config_digest, r.rank"
        " from wake.run r where r.id = %s",
        (made, made, agent, action.cause.run),
    )
    connection.execute("select pg_notify('wake_run', '')")
