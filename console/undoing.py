"""Takes back what an SQL action did: its `undo` with the before-images of the change log, unless somebody was there.

What its transaction changed is known from the row events with its cause. The undo is an action of its own: it rests on
every one of those rows as the action left it, and holds that as every fence is held, in its own transaction too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from agent.effects.sql import SqlPlan, render
from console import sessions
from wakestream import approvals, capture, fences, program_sql
from wakestream.capture import CapturedTable, Revision
from wakestream.config.actions import BEFORE
from wakestream.errors import RefusedError
from wakestream.events import subject
from wakestream.fences import Fence, FencedRow
from wakestream.ledger.models import Action, ChangedRow, Receipt

SUFFIX = "/undo"


def undo(session: Session, action: Action) -> Action:
    """The action that takes this one back, approved by nobody yet. Raises `RefusedError` where there can be none."""
    statement = approvals.of_document(action.policy).undo
    if action.kind != "sql" or statement is None:
        raise RefusedError(f"action `{action.id}` declares no `undo`")
    if action.state != "succeeded":
        raise RefusedError(f"action `{action.id}` is {action.state}; only one that succeeded can be taken back")
    if session.get(Action, f"{action.id}{SUFFIX}") is not None:
        raise RefusedError(f"action `{action.id}` is taken back already: `wake actions show {action.id}{SUFFIX}`")
    receipt, rows = _told(session, action)
    revision = _revision(session, receipt.source)
    fence = _as_left(revision, receipt.source, rows)
    _refuse_conflict(session, action, fence)
    plan = _plan(revision, action, statement, rows)
    last = session.scalar(select(func.max(Action.number)).where(Action.run == action.run)) or 0
    policy = approvals.of_document(action.policy)
    return Action(
        id=f"{action.id}{SUFFIX}",
        run=action.run,
        number=last + 1,
        name=action.name,
        kind="sql",
        state="awaiting_approval",
        bound=action.bound,
        chosen=action.chosen,
        arguments=action.arguments,
        effect=msgspec.structs.asdict(plan),
        fence=fences.to_document(fence),
        policy=msgspec.to_builtins(approvals.Policy(approvers=policy.approvers, count=policy.count)),
        approval="always",
        depth=action.depth,
    )


def _told(session: Session, action: Action) -> tuple[Receipt, Sequence[ChangedRow]]:
    """The action's mark and every row that its transaction changed, once the change log has told them all."""
    receipt = session.get(Receipt, action.id)
    if receipt is None:
        raise RefusedError(
            f"the mark of action `{action.id}` was not seen in the change log: what it changed is not known"
        )
    rows = session.scalars(select(ChangedRow).where(ChangedRow.action == action.id).order_by(ChangedRow.subject)).all()
    if len(rows) < receipt.rows:
        raise RefusedError(
            f"action `{action.id}` changed {receipt.rows} captured rows, and the agent has read of {len(rows)} so far; "
            "is `wake agent` running?"
        )
    if not rows:
        raise RefusedError(f"action `{action.id}` changed no captured row: there is nothing to take back")
    return receipt, rows


def _as_left(revision: Revision, source: str, rows: Sequence[ChangedRow]) -> Fence:
    """Every row as the action left it."""
    fenced: dict[str, FencedRow] = {}
    for row in sorted(rows, key=_place):
        table = revision.catalogue.table(row.table)
        if table is None or not table.key:
            raise RefusedError(f"{row.table} has no primary key, so nobody can tell who changed its rows since")
        key = {name: row.key[name] for name in table.key}
        fenced[row.subject] = FencedRow(row.table, key, subject(row.table, key), _known(revision, row))
    positions = [row.position for row in rows]
    return Fence(
        source=source,
        system_identifier=revision.catalogue.system_identifier,
        log=max(position["log"] for position in positions),
        offset=max(position["offset"] for position in positions),
        rows=list(fenced.values()),
        own_writes=False,
    )


def _known(revision: Revision, row: ChangedRow) -> dict[str, Any] | None:
    """The columns that stand in the event as they are in the source."""
    if row.after is None:
        return None
    hidden = set(revision.capture.tables.get(row.table, CapturedTable()).mask)
    return {
        name: value for name, value in row.after.items() if name not in hidden and f"after.{name}" not in row.missing
    }


def _refuse_conflict(session: Session, action: Action, fence: Fence) -> None:
    present = fences.compare_with_store(sessions.driver(session), fence)
    if present.behind:
        raise RefusedError("the context store is behind the action's change; is `wake consume` running?")
    if present.differences:
        raise RefusedError(f"somebody was there after action `{action.id}`: {'; '.join(present.differences)}")


def _plan(revision: Revision, action: Action, statement: str, rows: Sequence[ChangedRow]) -> SqlPlan:
    plan = msgspec.convert(action.effect, SqlPlan)
    values, arrays = dict(plan.values), set(plan.arrays)
    for name in program_sql.placeholders(statement):
        if name.startswith(BEFORE):
            row, column = _of_before(revision, rows, name.removeprefix(BEFORE))
            values[name] = None if row.before is None else row.before[column]
            table = revision.catalogue.table(row.table)
            found = table.column(column) if table else None
            arrays |= {name} if found is not None and found.array else set()
    used = {name: values[name] for name in program_sql.placeholders(statement)}
    changes = {
        "statement": statement,
        "values": used,
        "text": render(statement, used),
        "arrays": sorted(arrays & set(used)),
    }
    return msgspec.structs.replace(plan, **changes)


def _of_before(revision: Revision, rows: Sequence[ChangedRow], column: str) -> tuple[ChangedRow, str]:
    """The one row in which the action changed the column; where it changed it in none, the one row that has it."""
    having = [row for row in rows if row.before is not None and column in row.before]
    found = [row for row in having if (row.after or {}).get(column) != (row.before or {})[column]] or having
    if len(found) != 1:
        which = ", ".join(row.subject for row in found) or "no row"
        raise RefusedError(f"`:{BEFORE}{column}` must be one row's, and the action changed {which}")
    row = found[0]
    if column in revision.capture.tables.get(row.table, CapturedTable()).mask or f"before.{column}" in row.missing:
        raise RefusedError(f"{row.subject}: what `{column}` was is masked or missing in the change log")
    return row, column


def _place(row: ChangedRow) -> tuple[int, int, int]:
    position = row.position
    return position["log"], position["offset"], position.get("order") or position["seq"]


def _revision(session: Session, source: str) -> Revision:
    found = capture.load(sessions.driver(session), source)
    if found is None:
        raise RefusedError(f"the ledger knows nothing of source `{source}` any more")
    return found
