"""Tells what happens while it happens: every step with its time, from the change to the receipts."""

from __future__ import annotations

import math
import select
import shlex
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console

from console import sessions
from console.insights import Insights
from console.views import ActionDetail, RunStory
from examples.stage import REPOSITORY, Stage
from examples.watching import SeenChange, SeenEvent, Watcher
from wakestream import states
from wakestream.config import Config
from wakestream.errors import FatalError

POLL = 0.1  # seconds
PATIENCE = 900.0  # seconds without any news
SETTLING = 0.3  # seconds until everything that happened at a moment has been heard of
WIDTH = 150  # characters of an action
RUN_FINAL = ("succeeded", "failed", "cancelled", "parked")


@dataclass(frozen=True)
class Line:
    """One step of the story."""

    at: float
    who: str | None
    """Whom it concerns; None for all of them."""
    what: str
    text: str
    style: str = ""


@dataclass
class Teller:
    """Prints lines in the order of their times, each with its distance from the start and from the step before."""

    out: Console
    start: float
    _waiting: list[Line] = field(default_factory=list[Line])
    _last: dict[str | None, float] = field(default_factory=dict[str | None, float])

    def tell(self, lines: list[Line], *, until: float) -> None:
        """Add these lines, and print those before `until`: the others may yet be overtaken by older news."""
        known = sorted([*self._waiting, *lines], key=lambda each: each.at)
        self._waiting = [line for line in known if line.at >= until]
        for line in known[: len(known) - len(self._waiting)]:
            self._print(line)

    def _print(self, line: Line) -> None:
        since = self._last.get(line.who, self._last.get(None, self.start))
        self._last[line.who] = line.at
        step = f"+{(line.at - since) * 1000:,.0f}"
        head = f"{(line.at - self.start) * 1000:9,.0f} ms {step:>8}  {line.who or '':<10} {line.what:<8} "
        self.out.print(head, style=line.style, end="", markup=False, highlight=False)
        self.out.print(line.text, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Beginning:
    """What sets a story going."""

    at: float
    """When it was committed."""
    lsn: int
    """No commit before it has a greater one."""


class Story(ABC):
    """The story of what one change sets going."""

    def __init__(self, stage: Stage, out: Console, insights: Insights) -> None:
        self._stage = stage
        self._out = out
        self._insights = insights
        self._told: set[str] = set()
        self._asked: list[ActionDetail] = []
        """Actions that wait for a person."""

    @abstractmethod
    def change(self, seen: SeenChange) -> str | None:
        """What is told of a change in the change log; None for one that is not what began the story."""

    def question(self, action: ActionDetail) -> str:
        """What a person must know to decide on an action."""
        return f"{action.name} with {action.bound} waits for a person."

    def play(self, watcher: Watcher, began: Beginning, is_over: Callable[[list[RunStory]], bool]) -> list[RunStory]:
        """Tell it until all runs have come to their ends and that is all there is to come; returns the runs."""
        teller = Teller(self._out, began.at)
        since = datetime.fromtimestamp(began.at).astimezone()
        heard = time.monotonic()
        while True:
            runs = self._runs(since)
            lines = [*self._passing(watcher, began), *(line for run in runs for line in self._of_run(run))]
            over = all(_is_over(run) for run in runs) and is_over(runs)
            teller.tell(lines, until=math.inf if over or self._asked else time.time() - SETTLING)
            if over:
                return runs
            self._stage.check()
            heard = time.monotonic() if lines or self._let_decide() else heard
            if time.monotonic() - heard > PATIENCE:
                raise FatalError(f"nothing has happened for {PATIENCE:.0f} s; `wake runs list` says where it stands")
            time.sleep(POLL)

    def _runs(self, since: datetime) -> list[RunStory]:
        rows = [row for each in self._stage.play.triggers for row in self._insights.runs(trigger=each)]
        return [self._insights.run(row.id) for row in rows if row.created_at > since]

    def _passing(self, watcher: Watcher, began: Beginning) -> Iterator[Line]:
        """What went through Kafka because of the change itself; what its results cause is told by their receipts."""
        source = self._stage.play.source
        for seen in watcher.take():
            match seen:
                case SeenChange(at, offset) if (text := self.change(seen)) and self._once("change"):
                    yield Line(at, None, "change", f"{source}.changes @{offset}: {text}")
                case SeenEvent(at, partition, offset, event) if event.data.entity and event.data.cause is None:
                    changed = ", ".join(event.data.changed or ())
                    late = (event.data.position.commit or 0) >= began.lsn
                    if late and self._once(f"event {event.subject}"):
                        text = f"{source}.context[{partition}] @{offset}: {event.subject}: {changed}"
                        yield Line(at, _who(event.subject), "event", text)
                case _:
                    pass

    def _of_run(self, run: RunStory) -> Iterator[Line]:
        who = _who(run.change.subject)
        if self._once(run.id):
            condition = f"{run.trigger}, {run.condition.fire}: {run.condition.when}"
            yield Line(run.created_at.timestamp(), who, "trigger", condition, "cyan")
        if run.started_at and self._once(f"{run.id} started"):
            yield Line(run.started_at.timestamp(), who, "run", f"agent {run.agent} asks the model")
        for answer in run.answers:
            if self._once(f"{run.id} {answer.step}"):
                tokens = f"{answer.tokens_in} tokens in, {answer.tokens_out} out"
                said = answer.error or (answer.response or {}).get("content", "")
                text = f"{answer.ms / 1000:.1f} s, {tokens}: {' '.join(str(said).split())}"
                yield Line(answer.at.timestamp(), who, "answer", text, "red" if answer.error else "magenta")
        if run.state in ("failed", "parked") and self._once(f"{run.id} {run.state}"):
            at = run.finished_at.timestamp() if run.finished_at else time.time()
            yield Line(at, who, run.state, run.error or "", "red")
        for action in run.actions:
            yield from self._of_action(who, action)

    def _of_action(self, who: str, action: ActionDetail) -> Iterator[Line]:
        if self._once(action.id):
            yield Line(action.created_at.timestamp(), who, "policy", f"{action.name}: {_ruling(action)}")
        if action.state == "awaiting_approval" and self._once(f"{action.id} asked"):
            self._asked.append(action)
        if action.decided_at and self._once(f"{action.id} decided"):
            verb = "rejects" if action.state == "rejected" else "approves"
            text = f"{action.decided_by} {verb} {action.name}: {action.decision_reason or 'no reason given'}"
            yield Line(action.decided_at.timestamp(), who, "person", text, "yellow")
        if action.state in states.ACTION_FINAL | {"unknown"} and self._once(f"{action.id} final"):
            at = action.executed_at.timestamp() if action.executed_at else time.time()
            style = "green" if action.state == "succeeded" else "red"
            yield Line(at, who, "action", _deed(action), style)
        receipt = action.receipt
        if receipt is not None and not isinstance(receipt, dict) and self._once(f"{action.id} receipt"):
            text = f"commit {receipt.commit} with our mark, {receipt.rows} rows, {receipt.seconds:.3f} s after it"
            yield Line(receipt.seen_at.timestamp(), who, "receipt", text, "green")

    def _let_decide(self) -> bool:
        """Show what waits for a person; on a terminal let them decide, elsewhere do it in their place."""
        asked, self._asked = self._asked, []
        for action in asked:
            self._say("")
            self._say(f"  {self.question(action)} To approve:")
            self._say(f"  . {shown_environment(self._stage)}", "bold")
            self._say(f"  wake actions approve {shlex.quote(action.id)} --reason 'worth it'", "bold")
            if not (sys.stdin.isatty() and self._out.is_terminal) or self._enter_or_elsewhere(action.id):
                self._stage.wake("actions", "approve", action.id, "--yes", "--reason", "worth it, says the demo")
            self._say("")
        return bool(asked)

    def _enter_or_elsewhere(self, action: str) -> bool:
        """Wait for Enter; False when somebody has decided in another terminal."""
        self._say("  Run this in another terminal, or press Enter to have it run here.")
        while not select.select([sys.stdin], [], [], 0.3)[0]:
            if self._insights.action(action).state != "awaiting_approval":
                return False
        sys.stdin.readline()
        return self._insights.action(action).state == "awaiting_approval"

    def _say(self, text: str, style: str = "") -> None:
        self._out.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _once(self, fact: str) -> bool:
        if fact in self._told:
            return False
        self._told.add(fact)
        return True


def open_insights(stage: Stage, settings: Config) -> Insights:
    """The ledger's answers, with what the conditions say."""
    return Insights(sessions.open_ledger(stage.env["LEDGER_URL"]), settings)


def shown_environment(stage: Stage) -> str:
    """The environment file as one would type it."""
    file = stage.environment_file
    return shlex.quote(str(file.relative_to(REPOSITORY) if file.is_relative_to(REPOSITORY) else file))


def _who(subject: str) -> str:
    return subject.replace("/", " ")


def _is_over(run: RunStory) -> bool:
    """Whether nothing more will happen in it, receipts included."""
    proven = all(action.receipt is not None for action in run.actions if action.state == "succeeded")
    return run.state in RUN_FINAL and proven


def _ruling(action: ActionDetail) -> str:
    if action.approval in ("always", "never"):
        return f"approval: {action.approval}"
    if action.state == "awaiting_approval":
        return f"a person must approve, because {action.approval}"
    return f"{'a person had to' if action.decided_by else 'nobody needs to'} approve; that takes {action.approval}"


def _deed(action: ActionDetail) -> str:
    done = action.effect.get("text") or f"POST {action.effect.get('url')} {action.effect.get('body')}"
    if action.state == "succeeded":
        return _short(" ".join(str(done).split()))
    return f"{action.name} {action.state}: {action.reason}"


def _short(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
