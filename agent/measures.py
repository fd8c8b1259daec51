"""What the agent tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from agent.activation_store import Written
from agent.activations import Batch, Waiting
from agent.database import Connection
from wakestream import states
from wakestream.metrics import REGISTRY

EVENTS = Counter("wakestream_agent_messages", "Messages of context topics read", ("source",), registry=REGISTRY)
CLOCK = Gauge(
    "wakestream_agent_clock_timestamp_seconds", "The source's time in the partition", ("source", "partition"),
    registry=REGISTRY,
)  # fmt: skip
ACTIVATIONS = Counter(
    "wakestream_agent_activations", "Triggers that fired, or were kept from it", ("trigger", "state"),
    registry=REGISTRY,
)  # fmt: skip
LETTERS = Counter("wakestream_agent_dead_letters", "Messages and conditions that failed", ("kind",), registry=REGISTRY)
RUNS = Counter(
    "wakestream_agent_runs", "Attempts at runs, by what became of them", ("trigger", "outcome"), registry=REGISTRY
)
ANSWERS = Counter("wakestream_agent_answers", "Answers of models", ("model",), registry=REGISTRY)
ANSWER_SECONDS = Counter("wakestream_agent_answer_seconds", "Time that they took", ("model",), registry=REGISTRY)
TOKENS = Counter("wakestream_agent_tokens", "Tokens of prompts and answers", ("model", "way"), registry=REGISTRY)
ACTIONS = Counter("wakestream_agent_actions", "Attempts at actions, by state", ("action", "state"), registry=REGISTRY)
BUDGETS = Counter(
    "wakestream_agent_budgets", "Budgets that came to their end, and runs that they held back",
    ("budget", "outcome"), registry=REGISTRY,
)  # fmt: skip
OPEN_RUNS = Gauge("wakestream_ledger_runs", "Runs of all agents that want a worker", ("state",), registry=REGISTRY)
OPEN_ACTIONS = Gauge(
    "wakestream_ledger_actions", "Actions of all agents that wait or are under way", ("state",), registry=REGISTRY
)
ALARMS = Gauge("wakestream_ledger_alarms", "Actions whose effect was not seen in time", registry=REGISTRY)
HELD = Gauge("wakestream_ledger_held_triggers", "Triggers that the schema does not allow", registry=REGISTRY)

_RUNS: tuple[states.RunState, ...] = ("pending", "running")
_ACTIONS: tuple[states.ActionState, ...] = ("awaiting_approval", "approved", "executing", "unknown")

# By the indexes of those states: what is over is never counted.
_COUNT_RUNS = (
    "select state, sum(number)::bigint from ("
    " select state, count(*) as number from wake.run where (state = 'pending' and budget is null) or state = 'running'"
    " group by 1 union all"
    " select 'pending', count(*) from wake.run where state = 'pending' and budget is not null) counted group by 1"
)
_COUNT_ACTIONS = "select state, count(*) from wake.action where state = any(%s) group by 1"


def processed(batch: Batch, written: Written) -> None:
    """A batch was committed."""
    for topic, number in batch.read.items():
        EVENTS.labels(topic.removesuffix(".context")).inc(number)
    for (topic, partition), moved in batch.moved.items():
        if moved.clock is not None:
            CLOCK.labels(topic.removesuffix(".context"), partition).set(moved.clock.timestamp())
    for each in batch.activations:
        state: states.ActivationState = "held" if isinstance(each.verdict, Waiting) else "suppressed"
        ACTIVATIONS.labels(each.trigger.name, state).inc()
    for ending in batch.endings:
        ACTIVATIONS.labels(ending.trigger, "suppressed").inc()
    for admitted in written.admitted:
        ACTIVATIONS.labels(admitted.firing.trigger.name, admitted.state).inc()
    for letter in batch.letters:
        LETTERS.labels(letter.kind).inc()


def answered(model: str, seconds: float, tokens_in: int, tokens_out: int) -> None:
    """A model of the configuration has answered."""
    ANSWERS.labels(model).inc()
    ANSWER_SECONDS.labels(model).inc(seconds)
    TOKENS.labels(model, "in").inc(tokens_in)
    TOKENS.labels(model, "out").inc(tokens_out)


def look(connection: Connection) -> None:
    """What stands open in the ledger."""
    runs = dict(connection.execute(_COUNT_RUNS).fetchall())
    for state in _RUNS:
        OPEN_RUNS.labels(state).set(runs.get(state, 0))
    actions = dict(connection.execute(_COUNT_ACTIONS, (list(_ACTIONS),)).fetchall())
    for state in _ACTIONS:
        OPEN_ACTIONS.labels(state).set(actions.get(state, 0))
    row = connection.execute("select count(*) from wake.held_trigger").fetchone()
    HELD.set(row[0] if row else 0)
    row = connection.execute("select count(*) from wake.alarm where over_at is null").fetchone()
    ALARMS.set(row[0] if row else 0)
