"""Whether a scene came out right: the service's database and the desk are asked, not the agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from console.views import RunStory
from examples.demo import Finding
from examples.fraud.payments import Paid

Standing = Mapping[int, tuple[str, str | None]]
JUDGE = "judge"


def judge(paid: Paid, now: Standing, runs: list[RunStory], messages: list[dict[str, Any]]) -> list[Finding]:
    """Compare how the payments stand with what the service's own rules call suspicious.

    Right is: whatever is suspicious judged once by the agent, the desk told once of what is held; everything else open
    as it was; nothing at all done by the rules that are in the shadow.
    """
    findings = list[Finding]()
    for payment in paid.payments:
        told = [each for each in messages if each["payment"] == payment]
        live = [run for run in runs if run.trigger == "suspicious" and run.key["id"] == payment]
        wrong = _suspicious if payment in paid.suspicious else _ordinary
        problems = list(wrong(now[payment], live, told))
        findings.append(Finding(f"payment {payment}", not problems, "; ".join(problems) or _good(now[payment], live)))
    return [*findings, *_shadow([run for run in runs if run.trigger == "suspicious_next"])]


def _suspicious(stands: tuple[str, str | None], runs: list[RunStory], told: list[dict[str, Any]]) -> Iterator[str]:
    status, by = stands
    if status == "open" or len(runs) != 1:
        yield f"it is {status}, and {len(runs)} runs judged it instead of one"
    elif by != JUDGE:
        yield f"it was judged by {by}"
    if len(told) != (status == "held"):
        yield f"it is {status}, and the desk was told {len(told)} times"


def _ordinary(stands: tuple[str, str | None], runs: list[RunStory], told: list[dict[str, Any]]) -> Iterator[str]:
    if stands != ("open", None) or runs or told:
        yield f"it is not suspicious, and is {stands[0]} after {len(runs)} runs, the desk told {len(told)} times"


def _shadow(runs: list[RunStory]) -> Iterator[Finding]:
    for run in runs:
        states = {action.state for action in run.actions}
        would = ", ".join(action.name for action in run.actions) or "nothing"
        text = f"in the shadow: would have done: {would}"
        yield Finding(f"payment {run.key['id']}", states <= {"shadowed"}, text)


def _good(stands: tuple[str, str | None], runs: list[RunStory]) -> str:
    status, _ = stands
    if not runs:
        return f"{status}, as it was"
    (run,) = runs
    done = [action.executed_at for action in run.actions if action.kind == "sql" and action.executed_at]
    if not done or run.change.time is None:
        return status
    seconds = (min(done) - run.change.time).total_seconds()
    model = run.model_ms / 1000
    return f"{status} {seconds:.2f} s after the payment, of which {model:.2f} s are the model's"
