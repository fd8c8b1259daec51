"""The ledger's own tables, in schema `wake`. The context store's mirrors stand beside it, a schema for each source."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Float,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    Text,
)
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from wakestream import states

SCHEMA = "wake"


class Base(DeclarativeBase):
    """All tables of schema `wake`."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
        },
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        str: Text,
        int: BigInteger,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(none_as_null=True),
        list[Any]: JSONB(none_as_null=True),
        list[str]: ARRAY(Text),
        float: Float,
        bool: Boolean,
    }


def _now() -> Mapped[datetime]:
    return mapped_column(server_default=sql("clock_timestamp()"))


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} in ({listed})", name=column)


class Setting(Base):
    """What the ledger itself needs to remember, such as the key of its marks."""

    __tablename__ = "setting"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]


class Revision(Base):
    """What is captured of a source, as `apply` or the guard found it."""

    __tablename__ = "revision"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    source: Mapped[str] = mapped_column(index=True)
    made_at: Mapped[datetime] = _now()
    digest: Mapped[str]
    catalogue: Mapped[dict[str, Any]]
    capture: Mapped[dict[str, Any]]
    """Tables with their excluded, masked and untrusted columns, and the entities, with all names resolved."""


class SourcePosition(Base):
    """How far the context store of a source has come; moved in the transaction that moves the store."""

    __tablename__ = "source_position"
    source: Mapped[str] = mapped_column(primary_key=True)
    log: Mapped[int]
    topic_id: Mapped[str]
    system_identifier: Mapped[str]
    timeline: Mapped[int]
    offset: Mapped[int]
    """The last record of the change log whose piece is applied; -1 before the first."""
    commit: Mapped[int | None]
    """END's LSN of the last applied transaction."""
    read_from: Mapped[int]
    revision: Mapped[int]
    clock: Mapped[datetime | None]
    """The source's time at the position."""
    epoch: Mapped[int]
    owner: Mapped[str]
    backend_pid: Mapped[int]
    updated_at: Mapped[datetime] = _now()


class MirrorState(Base):
    """Whether the mirror of a table holds every row of it."""

    __tablename__ = "mirror_state"
    source: Mapped[str] = mapped_column(primary_key=True)
    table: Mapped[str] = mapped_column(primary_key=True)
    complete: Mapped[bool]
    log: Mapped[int | None]
    """The log in which its snapshot completed."""
    snapshot_from: Mapped[int | None]
    """Offset at which the snapshot that runs now started."""
    snapshot: Mapped[str | None]
    """`fresh` into an empty mirror; `again` over one with rows, which then tracks what it has shown."""
    ahead: Mapped[bool] = mapped_column(server_default=sql("false"))
    """Whether its rows may be newer than their place in the log."""
    whole: Mapped[bool] = mapped_column(server_default=sql("true"))
    """Whether the snapshot reads every row, so that one it has not shown is gone."""
    snapshot_ended: Mapped[int | None]
    """Offset at which such a snapshot ended, whose rows wait for the log to pass that moment."""
    doubt: Mapped[str | None]
    """Why the last snapshot that should have read it whole cannot be believed: it is asked for again."""


class MissingValue(Base):
    """Columns of a mirrored row whose stored value is not known."""

    __tablename__ = "missing_value"
    source: Mapped[str] = mapped_column(primary_key=True)
    table: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    columns: Mapped[list[str]]


class SnapshotRow(Base):
    """Rows that the snapshot that runs now has shown, or a change has touched since it started or shortly before."""

    __tablename__ = "snapshot_row"
    source: Mapped[str] = mapped_column(primary_key=True)
    table: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    image: Mapped[str | None]
    """What waits to be told; null when the store held it already or a change has told it since."""
    told: Mapped[str | None]
    """When the log told of the row itself: shortly `before` the snapshot began, or `since` then."""


class AdoptedPosition(Base):
    """How far each topic of an adopted connector is read, and what is read next; beside the source's position."""

    __tablename__ = "adopted_position"
    source: Mapped[str] = mapped_column(primary_key=True)
    inputs: Mapped[dict[str, Any]]
    """By topic: its id, its table, the next offset of each partition, the LSN of its table's last snapshot."""
    stretch: Mapped[dict[str, Any] | None]
    """What is read next, written down before anything of it is published; null once it is applied."""


class AdoptedRow(Base):
    """The LSN of a key's last change in an adopted connector's topics: what is not above it was sent before."""

    __tablename__ = "adopted_row"
    source: Mapped[str] = mapped_column(primary_key=True)
    table: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    """The key as a JSON object; empty for truncates of the table."""
    lsn: Mapped[int]


class Gap(Base):
    """A stretch of the source's history that may be missing from the context."""

    __tablename__ = "gap"
    source: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str]
    tables: Mapped[list[str]]
    reason: Mapped[str]
    event: Mapped[dict[str, Any]]
    opened_at: Mapped[datetime] = _now()
    closed_at: Mapped[datetime | None]
    __table_args__ = (_one_of("state", ("open", "closed")),)


class Receipt(Base):
    """An action's mark, seen in the change log by the consumer."""

    __tablename__ = "receipt"
    action: Mapped[str] = mapped_column(primary_key=True)
    source: Mapped[str]
    log: Mapped[int]
    offset: Mapped[int]
    commit: Mapped[int]
    rows: Mapped[int]
    """Captured rows that its transaction changed."""
    committed_at: Mapped[datetime]
    seen_at: Mapped[datetime] = _now()


class DeadLetter(Base):
    """A message or event that could not be processed; the stream went on."""

    __tablename__ = "dead_letter"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    stage: Mapped[str]
    kind: Mapped[str]
    reason: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    offset: Mapped[int]
    digest: Mapped[str]
    """SHA-256 of the payload, which stays in Kafka."""
    subject: Mapped[str] = mapped_column(server_default="")
    """What the problem is about: an event's subject, a trigger's name; part of the letter's identity."""
    event: Mapped[dict[str, Any] | None]
    state: Mapped[str] = mapped_column(server_default="open")
    attempts: Mapped[int] = mapped_column(server_default="1")
    at: Mapped[datetime] = _now()
    retrying: Mapped[dict[str, Any] | None]
    """What the consumer is to do about it: tables to read again, or an entity with the keys of its documents."""
    told: Mapped[int] = mapped_column(server_default=sql("0"))
    """How many of those documents are told."""
    outcome: Mapped[str | None]
    """What came of the last retry, or how far it is."""
    __table_args__ = (
        _one_of("state", ("open", "retried", "discarded")),
        Index("dead_letter_place_key", "topic", "partition", "offset", "stage", "kind", "subject", unique=True),
    )


class PartitionPosition(Base):
    """How far the agent has read a partition of a context topic: the reader's rule."""

    __tablename__ = "partition_position"
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    log: Mapped[int]
    offset: Mapped[int]
    seq: Mapped[int]
    kafka_offset: Mapped[int]
    """Where to read on in the context topic itself."""
    epoch: Mapped[int]
    owner: Mapped[str]
    clock: Mapped[datetime | None]
    updated_at: Mapped[datetime] = _now()


class Activation(Base):
    """One trigger met for one key at one position; written once."""

    __tablename__ = "activation"
    id: Mapped[str] = mapped_column(primary_key=True)
    trigger: Mapped[str]
    source: Mapped[str]
    event_id: Mapped[str]
    subject: Mapped[str]
    key: Mapped[dict[str, Any]]
    state: Mapped[str]
    reason: Mapped[str | None]
    depth: Mapped[int]
    event: Mapped[dict[str, Any]]
    """The net change where it waited."""
    committed_at: Mapped[datetime | None]
    opened_at: Mapped[datetime | None]
    """The source's time at which it got a run."""
    batch: Mapped[str | None]
    """The run that answers it together with others."""
    created_at: Mapped[datetime] = _now()
    handed: Mapped[dict[str, Any] | None]
    """Of one that an action of kind `run` made: which action, of which agent, with its values and the model's words."""
    again: Mapped[dict[str, Any] | None]
    """Of one that is decided again: which action was stale, of which run, and what had changed."""
    __table_args__ = (
        _one_of("state", states.ACTIVATION),
        Index(
            "activation_opened_idx", "trigger", "subject", "opened_at", postgresql_where=sql("opened_at is not null")
        ),
        Index("activation_batch_idx", "batch", postgresql_where=sql("batch is not null")),
        Index("activation_trigger_idx", "trigger", "created_at"),
        Index("activation_subject_idx", "subject"),
        Index(
            "activation_cause_idx",
            sql("coalesce(again ->> 'by', handed ->> 'by', event #>> '{data,cause,action}')"),
            postgresql_where=sql(
                "coalesce(again ->> 'by', handed ->> 'by', event #>> '{data,cause,action}') is not null"
            ),
        ),
    )


class Wait(Base):
    """A key that waits for something to last, to stay away, or to become quiet; its activation is `held`."""

    __tablename__ = "wait"
    trigger: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str]
    partition: Mapped[int]
    kind: Mapped[str]
    activation: Mapped[str] = mapped_column(unique=True)
    due: Mapped[datetime]
    """By the clock marks of its partition."""
    until: Mapped[datetime]
    depth: Mapped[int]
    last: Mapped[dict[str, Any]]
    """The latest event of the key."""
    steps: Mapped[list[Any]]
    __table_args__ = (
        _one_of("kind", ("hold", "absent", "debounce")),
        Index("wait_place_idx", "topic", "partition"),
    )


class Batch(Base):
    """Activations of one trigger that wait for others with the same value."""

    __tablename__ = "batch"
    id: Mapped[str] = mapped_column(primary_key=True)
    """The run's, once it is complete."""
    trigger: Mapped[str]
    value: Mapped[str]
    """As JSON."""
    topic: Mapped[str]
    due: Mapped[datetime]
    """By the lowest clock of the topic's partitions."""
    count: Mapped[int]
    __table_args__ = (Index("batch_value_key", "trigger", "value", unique=True),)


class PausedTrigger(Base):
    """A trigger that a person has paused: what meets it is suppressed."""

    __tablename__ = "paused_trigger"
    trigger: Mapped[str] = mapped_column(primary_key=True)
    who: Mapped[str]
    reason: Mapped[str]
    since: Mapped[datetime] = _now()


class OpenBreaker(Base):
    """A key that had too many runs of a trigger: further activations are held until a person releases them."""

    __tablename__ = "open_breaker"
    trigger: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    since: Mapped[datetime] = _now()


class TriggerCount(Base):
    """What conditions came to, per trigger."""

    __tablename__ = "trigger_count"
    trigger: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    last_event: Mapped[str]
    last_at: Mapped[datetime] = _now()


class Run(Base):
    """One execution of an agent for an activation."""

    __tablename__ = "run"
    id: Mapped[str] = mapped_column(primary_key=True)
    activation: Mapped[str] = mapped_column(ForeignKey("wake.activation.id"))
    agent: Mapped[str]
    trigger: Mapped[str]
    key: Mapped[dict[str, Any]]
    subject: Mapped[str | None]
    state: Mapped[str]
    attempts: Mapped[int] = mapped_column(server_default="0")
    run_at: Mapped[datetime] = _now()
    """Not before this."""
    rank: Mapped[datetime] = _now()
    """The order in which runs are claimed: priorities and fairness between keys are in it."""
    lease_by: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    error: Mapped[str | None]
    model: Mapped[str | None]
    decision: Mapped[dict[str, Any] | None]
    tokens_in: Mapped[int] = mapped_column(server_default="0")
    tokens_out: Mapped[int] = mapped_column(server_default="0")
    cost: Mapped[float] = mapped_column(server_default="0")
    model_ms: Mapped[float] = mapped_column(server_default="0")
    config_digest: Mapped[str | None]
    """The program that it began with, which it also ends with."""
    admitted_at: Mapped[datetime | None]
    """When its budgets counted it, which they do once."""
    budget: Mapped[str | None]
    """The spent budget that it waits for."""
    let_go_by: Mapped[str | None]
    """Who said that it may go on although a budget is spent."""
    calling: Mapped[str | None]
    """The model that it asks now, where calls of it are limited."""
    created_at: Mapped[datetime] = _now()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    __table_args__ = (
        _one_of("state", states.RUN),
        Index(
            "run_rank_idx",
            "rank",
            postgresql_where=sql("(state = 'pending' and budget is null) or state = 'running'"),
        ),
        Index("run_key_idx", "trigger", "subject", "rank", postgresql_where=sql("state = 'pending'")),
        Index("run_activation_idx", "activation"),
        Index("run_waiting_idx", "run_at", postgresql_where=sql("state = 'pending' and budget is not null")),
        Index("run_budget_idx", "budget", "run_at", postgresql_where=sql("budget is not null")),
        Index("run_started_idx", "started_at"),
        Index("run_calling_idx", "calling", postgresql_where=sql("calling is not null")),
    )


class RunStep(Base):
    """What a run asked and was answered, stored before the next step."""

    __tablename__ = "run_step"
    run: Mapped[str] = mapped_column(ForeignKey("wake.run.id"), primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    """`lookup:seats`, `prompt`, `model:1`, `model:2` …"""
    request: Mapped[dict[str, Any] | None]
    response: Mapped[dict[str, Any] | None]
    error: Mapped[str | None]
    tokens_in: Mapped[int] = mapped_column(server_default="0")
    tokens_out: Mapped[int] = mapped_column(server_default="0")
    ms: Mapped[float] = mapped_column(server_default="0")
    at: Mapped[datetime] = _now()


class Action(Base):
    """One effect that a run proposed."""

    __tablename__ = "action"
    id: Mapped[str] = mapped_column(primary_key=True)
    run: Mapped[str] = mapped_column(ForeignKey("wake.run.id"))
    number: Mapped[int]
    name: Mapped[str]
    kind: Mapped[str]
    state: Mapped[str]
    bound: Mapped[dict[str, Any]]
    chosen: Mapped[dict[str, Any]]
    arguments: Mapped[dict[str, Any]]
    """What the model wrote freely."""
    effect: Mapped[dict[str, Any]]
    """The statement or request with its values, as it will be executed."""
    reason: Mapped[str | None]
    """Why it is in its state."""
    approval: Mapped[str]
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    decision_reason: Mapped[str | None]
    depth: Mapped[int]
    attempts: Mapped[int] = mapped_column(server_default="0")
    run_at: Mapped[datetime] = _now()
    lease_by: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    intent: Mapped[dict[str, Any] | None]
    """Recorded before the effect: for SQL the xid, backend, system identifier and timeline."""
    result: Mapped[dict[str, Any] | None]
    executed_at: Mapped[datetime | None]
    checks: Mapped[int] = mapped_column(server_default="0")
    """How often its `check` was asked whether it took effect."""
    check_at: Mapped[datetime | None]
    fence: Mapped[dict[str, Any] | None]
    """The rows that its decision rested on (`wakestream.fences`)."""
    policy: Mapped[dict[str, Any] | None]
    """Under what it was proposed: who may approve, what follows when nobody does, what undoes it."""
    expires_at: Mapped[datetime | None]
    edited_by: Mapped[str | None]
    edits: Mapped[list[Any] | None]
    """What it was before each change that a person made of it: arguments and choices, who, when and why."""
    created_at: Mapped[datetime] = _now()
    __table_args__ = (
        _one_of("state", states.ACTION),
        Index(
            "action_expiry_idx",
            "expires_at",
            postgresql_where=sql("state = 'awaiting_approval' and expires_at is not null"),
        ),
        Index("action_run_idx", "run", "number", unique=True),
        Index("action_claim_idx", "run_at", postgresql_where=sql("state in ('approved', 'executing')")),
        Index("action_state_idx", "state", "created_at"),
    )


class Spend(Base):
    """What was spent of a budget, or of a model's rate, in one window of time."""

    __tablename__ = "spend"
    scope: Mapped[str] = mapped_column(primary_key=True)
    """The budget: `trigger disrupted: runs per hour by after.tenant`."""
    by_value: Mapped[str] = mapped_column(primary_key=True)
    """What its `by` gave; empty without one."""
    window_start: Mapped[datetime] = mapped_column(primary_key=True)
    window_end: Mapped[datetime] = mapped_column(index=True)
    spent: Mapped[float]
    quota: Mapped[float]
    warned_at: Mapped[datetime | None]
    """When operators were told that it comes to its end."""
    exhausted_at: Mapped[datetime | None]
    """When the first run was held back by it."""


class ModelPause(Base):
    """A model that is not asked before a moment, by any process; its row is also what limits of the model lock."""

    __tablename__ = "model_pause"
    model: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[datetime | None]
    reason: Mapped[str | None]


class StoredProgram(Base):
    """What runs that began under it need to end under it: the file's parts without any secret."""

    __tablename__ = "program"
    digest: Mapped[str] = mapped_column(primary_key=True)
    parts: Mapped[dict[str, Any]]
    prompts: Mapped[dict[str, Any]]
    revisions: Mapped[dict[str, Any]]
    """By source, the id of the revision."""
    made_at: Mapped[datetime] = _now()


class Notice(Base):
    """Something that the agent tells operators once."""

    __tablename__ = "notice"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=sql("clock_timestamp()"), index=True)
    kind: Mapped[str]
    about: Mapped[str]
    text: Mapped[str]
    sent_at: Mapped[datetime | None]
    """When a guard sent it on."""
    __table_args__ = (Index("notice_unsent_idx", "id", postgresql_where=sql("sent_at is null")),)


class Approval(Base):
    """One person's word for an action that awaits it."""

    __tablename__ = "approval"
    action: Mapped[str] = mapped_column(ForeignKey("wake.action.id"), primary_key=True)
    who: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str | None]
    at: Mapped[datetime] = _now()


class ChangedRow(Base):
    """A row that the transaction of an action with `undo` changed, as the change log told it."""

    __tablename__ = "changed_row"
    action: Mapped[str] = mapped_column(primary_key=True)
    event: Mapped[str] = mapped_column(primary_key=True)
    table: Mapped[str]
    subject: Mapped[str]
    key: Mapped[dict[str, Any]]
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    missing: Mapped[list[str]]
    position: Mapped[dict[str, Any]]


class Alarm(Base):
    """Something that a person should look at, until it is over."""

    __tablename__ = "alarm"
    kind: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    """An action's id."""
    detail: Mapped[str]
    since: Mapped[datetime] = _now()
    over_at: Mapped[datetime | None]


class Operator(Base):
    """A person, and the hash of their token."""

    __tablename__ = "operator"
    name: Mapped[str] = mapped_column(primary_key=True)
    token_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = _now()
    revoked_at: Mapped[datetime | None]


class Audit(Base):
    """Who did what to which, and why."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = _now()
    who: Mapped[str]
    what: Mapped[str]
    ids: Mapped[list[str]]
    reason: Mapped[str | None]


class GuardEvent(Base):
    """What the guard saw and did."""

    __tablename__ = "guard_event"
    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    at: Mapped[datetime] = _now()
    source: Mapped[str] = mapped_column(index=True)
    what: Mapped[str]
    detail: Mapped[str]


class Drift(Base):
    """What of a source's schema the newest revision could not follow, or follows without showing it."""

    __tablename__ = "drift"
    source: Mapped[str] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(primary_key=True)
    """In words, with the table: `public.flight: the table is gone`."""
    remedy: Mapped[str]
    affected: Mapped[list[str]]
    """What in the configuration reads it."""
    harmful: Mapped[bool]
    """Whether something does not work until a person has acted."""
    table: Mapped[str | None]
    column: Mapped[str | None]
    """One that is gone and that the configuration still reads."""
    before: Mapped[int | None] = mapped_column(BigInteger)
    """The last revision that had the column."""
    since: Mapped[datetime] = _now()


class HeldTrigger(Base):
    """A trigger that the agent does not evaluate, because the schema does not allow it."""

    __tablename__ = "held_trigger"
    trigger: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    since: Mapped[datetime] = _now()


class GuardState(Base):
    """How the guard judges a source now."""

    __tablename__ = "guard_state"
    source: Mapped[str] = mapped_column(primary_key=True)
    level: Mapped[str]
    reasons: Mapped[list[str]]
    reading: Mapped[dict[str, Any]]
    since: Mapped[datetime] = _now()
    """When the level was reached."""
    at: Mapped[datetime] = _now()
    shed: Mapped[bool] = mapped_column(server_default=sql("false"))
    """Whether the slot was given up to protect the database."""
    __table_args__ = (_one_of("level", ("ok", "warning", "critical")),)
