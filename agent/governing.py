"""What stands between a decision and its effects besides an action's own `approval`: modes, strangers' text, expiry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from agent.action_store import Proposed
from wakestream.approvals import Policy
from wakestream.config.actions import SqlAction
from wakestream.config.lookups import Lookup, SqlLookup
from wakestream.config.policy import Mode, PolicySection
from wakestream.program import CompiledAgent

_STRICTNESS: tuple[Mode, ...] = ("live", "approve", "shadow")
_WORD = re.compile(r"\w+")


def note(values: Mapping[str, Any], saw: Iterable[str]) -> None:
    """Add to what the run saw that strangers may have written: `event.untrusted` of its expressions."""
    event = values["event"]
    event["untrusted"] = sorted({*event["untrusted"], *saw})


def note_lookup(
    values: Mapping[str, Any],
    name: str,
    lookup: Lookup,
    rows: Sequence[Mapping[str, Any]],
    untrusted: Mapping[str, frozenset[str]],
) -> None:
    """Note a lookup's answer: of one in SQL the untrusted columns that it returns or names, of others all of it."""
    if not isinstance(lookup, SqlLookup):
        note(values, [f"lookups.{name}"])
        return
    named = set(_WORD.findall(lookup.sql)) | {column for row in rows for column in row}
    note(values, (f"lookups.{name}.{column}" for column in untrusted.get(lookup.source, frozenset()) & named))


def governed(
    actions: Iterable[Proposed], modes: Iterable[Mode], agent: CompiledAgent, saw: Sequence[str]
) -> list[Proposed]:
    """The proposed actions under the stricter of the modes, and with how long and for whom they wait."""
    mode = max(modes, key=_STRICTNESS.index)
    held = _held(mode, agent, saw)
    return [_governed(each, mode, held, agent.actions[each.name].settings, saw) for each in actions]


def _held(mode: Mode, agent: CompiledAgent, saw: Sequence[str]) -> str | None:
    """Why every action of the run waits for a person, if it does."""
    if agent.settings.untrusted == "approve" and saw:
        return f"untrusted: approve, and the run saw {', '.join(saw)}"
    return "mode: approve" if mode == "approve" else None


def _governed(action: Proposed, mode: Mode, held: str | None, settings: PolicySection, saw: Sequence[str]) -> Proposed:
    changed: dict[str, Any] = {}
    if mode == "shadow":
        ruled = "awaiting_approval" if held else action.state
        changed = {"state": "shadowed", "reason": f"mode: shadow; else it would be {ruled}: {held or action.reason}"}
    elif held is not None and action.state == "approved":
        changed = {"state": "awaiting_approval", "reason": held}
    # Who said that a person decides did not mean the clock.
    expiry = "reject" if held is not None and settings.on_expiry == "execute" else settings.on_expiry
    policy = Policy(
        approvers=list(settings.approvers.names),
        count=settings.approvers.count,
        expires_s=settings.expires,
        on_expiry=expiry,
        escalate_to=list(settings.escalate_to),
        untrusted=list(saw),
        undo=settings.undo if isinstance(settings, SqlAction) else None,
    )
    return msgspec.structs.replace(action, policy=policy, **changed)
