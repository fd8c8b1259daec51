"""How a run or an action is told to a person, from the change that caused it to the proof of its effect."""

from __future__ import annotations

from typing import Any, cast

from cli import output
from console import views


def tell_run(story: views.RunStory) -> None:
    """A run: state, actions, then what led to them."""
    output.section(f"run {story.id}", _run_lines(story))
    for action in story.actions:
        output.section(f"action {action.id}", action_lines(action))
    if not story.actions and story.decision is not None:
        output.section("actions", ["none: the model decided that nothing is to be done"])
    tell_origin(story)
    output.history(story.history)


def tell_action(story: views.ActionStory) -> None:
    """An action: state, what it does, then the run that proposed it."""
    output.section(f"action {story.id}", action_lines(story))
    output.history(story.history)
    output.section(f"run {story.run}", _run_lines(story.origin))
    tell_origin(story.origin)


def tell_origin(story: views.RunStory) -> None:
    """The change, the condition, the lookups, the prompt and the answers."""
    output.section("change", _change_lines(story.change))
    output.section("condition", _condition_lines(story.condition))
    for lookup in story.lookups:
        output.section(f"{lookup.step} ({lookup.ms:.0f} ms)", [lookup.error or output.cell(lookup.response)])
    output.section("prompt", _prompt_lines(story.prompt))
    for answer in story.answers:
        title = f"{answer.step} ({answer.ms:.0f} ms, {answer.tokens_in} tokens in, {answer.tokens_out} out)"
        output.section(title, [output.cell(answer.response), *([answer.error] if answer.error else [])])
    if story.decision is not None:
        output.section("decision", [f"reason  {output.cell(story.decision.get('reason'))}"])


def action_lines(action: views.ActionDetail) -> list[str]:
    """What an action is, does and came to; only values of ours, and the model's where they are parameters."""
    pairs: dict[str, Any] = {
        "state": action.state,
        "because": action.reason,
        "what": f"{action.name} ({action.kind})",
        **{f"effect {name}": value for name, value in action.effect.items()},
        "bound": action.bound,
        "chosen": action.chosen,
        "parameters": action.arguments,
        "edited by": action.edited_by,
        **{f"before, by {each['by']}": {**each["chosen"], **each["arguments"]} for each in action.edits},
        "approval": action.approval,
        "decided by": action.decided_by,
        "decided": output.exactly(action.decided_at),
        "for the reason": action.decision_reason,
        "attempts": action.attempts,
        "executed": output.exactly(action.executed_at),
        "result": action.result,
        "receipt": receipt_text(action.receipt),
        "rests on": _fence_text(action.fence),
    }
    return output.fields(pairs) + ([] if action.fence is None else action.fence.differences)


def _fence_text(fence: views.FenceView | None) -> str | None:
    """What a decision rested on and whether it is still so, on one line."""
    if fence is None:
        return None
    words = {
        "holds": "nothing of it has changed",
        "changed": "changed since:",
        "behind": "the context store has not reached its place yet",
        "over": "",
    }
    told = [", ".join(fence.rows) or "no row", words[fence.state], *(f"not compared: {each}" for each in fence.untold)]
    return "; ".join(part for part in told if part)


def receipt_text(receipt: views.Receipt | views.Json | None) -> str:
    """A receipt on one line."""
    if isinstance(receipt, views.Receipt):
        rows = "1 row" if receipt.rows == 1 else f"{receipt.rows} rows"
        committed = output.ago(receipt.committed_at)
        return f"{receipt.commit}, {rows}, seen {receipt.seconds:.3f} s after its commit {committed}"
    return output.cell(receipt)


def _run_lines(run: views.RunRow) -> list[str]:
    return output.fields(
        {
            "state": run.state,
            "error": run.error,
            "agent": run.agent,
            "trigger": run.trigger,
            "key": run.key,
            "attempts": run.attempts,
            "next try": run.run_at,
            "model": run.model,
            "latency": f"{run.model_ms:.0f} ms" if run.model_ms else None,
            "tokens": f"{run.tokens_in} in, {run.tokens_out} out",
            "cost": f"{run.cost:.6f}",
            "started": output.exactly(run.started_at),
            "finished": output.exactly(run.finished_at),
        }
    )


def _change_lines(change: views.Change) -> list[str]:
    pairs: dict[str, Any] = {
        "event": change.event,
        "type": change.type + (" (snapshot)" if change.snapshot else ""),
        "subject": change.subject,
        "committed": output.exactly(change.time),
        "cause": change.cause,
        "missing": change.missing,
    }
    lines = output.fields(pairs)
    if change.changed:
        return lines + [f"{c.path}: {output.cell(c.before)} → {output.cell(c.after)}" for c in change.changed]
    images = {"before": change.before, "after": change.after}
    return lines + output.fields({name: image for name, image in images.items() if image is not None})


def _condition_lines(condition: views.Condition) -> list[str]:
    if condition.when is None:
        return [f"trigger {condition.trigger} is not in this configuration"]
    pairs = {"trigger": condition.trigger, "on": condition.on, "fire": condition.fire, "when": condition.when}
    return output.fields(pairs)


def _prompt_lines(prompt: views.Json | None) -> list[str]:
    if prompt is None:
        return [output.ABSENT]
    messages = prompt.get("messages")
    if not isinstance(messages, list):
        return [output.compact(prompt)]
    found = cast("list[dict[str, Any]]", messages)
    return [line for each in found for line in (f"[{each.get('role')}]", str(each.get("content")))]
