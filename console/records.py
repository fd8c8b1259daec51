"""From the ledger's rows to what operators are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from console import views
from wakestream.config import Config
from wakestream.ledger import models


def run_row(run: models.Run) -> views.RunRow:
    """A run in a list."""
    return views.RunRow(**_run_fields(run))


def run_story(
    run: models.Run,
    activation: models.Activation,
    steps: list[models.RunStep],
    actions: list[views.ActionDetail],
    history: list[views.AuditRow],
    config: Config | None,
) -> views.RunStory:
    """A run from the change to the receipts."""
    told = [step(each) for each in steps]
    prompts = [each for each in told if _kind(each) == "prompt"]
    return views.RunStory(
        **_run_fields(run),
        change=change(activation),
        condition=condition(run.trigger, config),
        lookups=[each for each in told if _kind(each) == "lookup"],
        prompt=(prompts[-1].response or prompts[-1].request) if prompts else None,
        answers=[each for each in told if _kind(each) == "model"],
        decision=run.decision,
        actions=actions,
        history=history,
    )


def _run_fields(run: models.Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "activation": run.activation,
        "agent": run.agent,
        "trigger": run.trigger,
        "key": run.key,
        "state": run.state,
        "attempts": run.attempts,
        "run_at": run.run_at if run.state == "pending" else None,
        "error": run.error,
        "model": run.model,
        "tokens_in": run.tokens_in,
        "tokens_out": run.tokens_out,
        "cost": run.cost,
        "model_ms": run.model_ms,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def action_row(action: models.Action, receipt: models.Receipt | None, alarm: str | None = None) -> views.ActionRow:
    """An action in a list."""
    return views.ActionRow(**_action_fields(action, receipt), alarm=alarm)


def action_detail(
    action: models.Action,
    receipt: models.Receipt | None,
    fence: views.FenceView | None,
    history: list[views.AuditRow],
) -> views.ActionDetail:
    """An action with what will be, or was, executed."""
    return views.ActionDetail(
        **_action_fields(action, receipt),
        effect=action.effect,
        intent=action.intent,
        result=action.result,
        fence=fence,
        edited_by=action.edited_by,
        edits=list(action.edits or ()),
        history=history,
    )


def action_story(detail: views.ActionDetail, origin: views.RunStory) -> views.ActionStory:
    """An action and the run that proposed it."""
    fields = {name: getattr(detail, name) for name in views.ActionDetail.__struct_fields__}
    return views.ActionStory(**fields, origin=origin)


def _action_fields(action: models.Action, receipt: models.Receipt | None) -> dict[str, Any]:
    return {
        "id": action.id,
        "run": action.run,
        "name": action.name,
        "kind": action.kind,
        "state": action.state,
        "reason": action.reason,
        "bound": action.bound,
        "chosen": action.chosen,
        "arguments": action.arguments,
        "approval": action.approval,
        "decided_by": action.decided_by,
        "decided_at": action.decided_at,
        "decision_reason": action.decision_reason,
        "attempts": action.attempts,
        "created_at": action.created_at,
        "executed_at": action.executed_at,
        "receipt": _receipt(action, receipt),
    }


def _receipt(action: models.Action, receipt: models.Receipt | None) -> views.Receipt | dict[str, Any] | None:
    if receipt is None:
        # An SQL action's own result says what was attempted; only the change log proves it.
        return action.result if action.state == "succeeded" and action.kind != "sql" else None
    return views.Receipt(
        source=receipt.source,
        log=receipt.log,
        offset=receipt.offset,
        commit=views.lsn(receipt.commit),
        rows=receipt.rows,
        committed_at=receipt.committed_at,
        seen_at=receipt.seen_at,
        seconds=round((receipt.seen_at - receipt.committed_at).total_seconds(), 3),
    )


def change(activation: models.Activation) -> views.Change:
    """The event that an activation answers to."""
    event = activation.event
    data = cast("dict[str, Any]", event.get("data") or {})
    before, after = data.get("before"), data.get("after")
    return views.Change(
        event=activation.event_id,
        source=activation.source,
        type=str(event.get("type", "")),
        subject=activation.subject,
        time=activation.committed_at,
        key=data.get("key"),
        changed=[
            views.ChangedValue(path=path, before=value_at(before, path), after=value_at(after, path))
            for path in data.get("changed") or ()
        ],
        missing=list(data.get("missing") or ()),
        snapshot=bool(data.get("snapshot")),
        cause=data.get("cause"),
        before=before,
        after=after,
    )


def value_at(image: Any, path: str) -> Any:
    """The value that a `changed` path points to in an image; None where there is none."""
    if not isinstance(image, dict):
        return None
    document = cast("dict[str, Any]", image)
    if path in document:
        return document[path]
    name, _, rest = path.partition(".")
    return value_at(document.get(name), rest) if rest else None


def condition(trigger: str, config: Config | None) -> views.Condition:
    """The trigger as the configuration has it."""
    found = config.triggers.get(trigger) if config else None
    if found is None:
        return views.Condition(trigger=trigger, on=None, fire=None, when=None)
    return views.Condition(trigger=trigger, on=found.table or found.entity, fire=found.fire, when=found.when)


def step(row: models.RunStep) -> views.Step:
    """One stored step."""
    return views.Step(
        step=row.step,
        request=row.request,
        response=row.response,
        error=row.error,
        tokens_in=row.tokens_in,
        tokens_out=row.tokens_out,
        ms=row.ms,
        at=row.at,
    )


def _kind(each: views.Step) -> str:
    """`lookup`, `prompt` or `model`, whichever attempt it belongs to."""
    return each.step.rpartition("/")[2].partition(":")[0]


def audit_row(row: models.Audit) -> views.AuditRow:
    """One deed."""
    return views.AuditRow(at=row.at, who=row.who, what=row.what, reason=row.reason)


def letter_row(letter: models.DeadLetter) -> views.LetterRow:
    """A dead letter in a list."""
    return views.LetterRow(**_letter_fields(letter))


def letter_story(letter: models.DeadLetter, history: list[views.AuditRow]) -> views.LetterStory:
    """A dead letter with what is known of its message."""
    return views.LetterStory(**_letter_fields(letter), digest=letter.digest, event=letter.event, history=history)


def _letter_fields(letter: models.DeadLetter) -> dict[str, Any]:
    names = views.LetterRow.__struct_fields__
    return {name: getattr(letter, name) for name in names}


def activation_row(activation: models.Activation, run: models.Run | None) -> views.ActivationRow:
    """A trigger that was met, or kept from starting a run."""
    return views.ActivationRow(
        id=activation.id,
        trigger=activation.trigger,
        state=activation.state,
        reason=activation.reason,
        event=activation.event_id,
        subject=activation.subject,
        depth=activation.depth,
        committed_at=activation.committed_at,
        created_at=activation.created_at,
        run=run and run.id,
        run_state=run and run.state,
    )


def count_row(row: models.TriggerCount) -> views.CountRow:
    """How often a condition came to an outcome."""
    return views.CountRow(
        trigger=row.trigger, outcome=row.outcome, count=row.count, last_event=row.last_event, last_at=row.last_at
    )


def operator_row(row: models.Operator) -> views.OperatorRow:
    """A person."""
    return views.OperatorRow(name=row.name, created_at=row.created_at, revoked_at=row.revoked_at)


def moment(value: datetime | None) -> str:
    """A time as error messages say it."""
    return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if value else "an unknown time"
