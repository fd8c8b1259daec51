"""What Kafka Connect answers, as frozen records."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

State = Literal["UNASSIGNED", "RUNNING", "PAUSED", "STOPPED", "FAILED", "RESTARTING", "DESTROYED"]
InitialState = Literal["RUNNING", "PAUSED", "STOPPED"]
Scope = Literal["worker", "cluster"]
Config = dict[str, str | None]

_CAUSE = re.compile(r"^Caused by: (?P<error>.+)$", re.MULTILINE)
_CLASS = re.compile(r"^[\w$]+(\.[\w$]+)+: +")


def telling_line(trace: str) -> str:
    """The message of the deepest cause in a Java stack trace: what went wrong, without the layers around it.

    A cause without a message says less than the one around it; causes of suppressed exceptions are indented, and do
    not count.
    """
    errors = [trace.strip().partition("\n")[0], *(match["error"] for match in _CAUSE.finditer(trace))]
    told = [_CLASS.sub("", error).strip() for error in errors if _CLASS.match(error)]
    return told[-1] if told else errors[0].strip()


class Worker(msgspec.Struct, frozen=True):
    """The worker that answers."""

    version: str
    commit: str
    kafka_cluster_id: str


class Health(msgspec.Struct, frozen=True):
    """The worker's own opinion of itself."""

    status: Literal["healthy", "starting", "unhealthy"]
    message: str


class ConnectorState(msgspec.Struct, frozen=True):
    """The connector's own part, which starts and configures the tasks."""

    state: State
    worker_id: str
    trace: str = ""
    version: str | None = None


class TaskStatus(msgspec.Struct, frozen=True):
    """One task."""

    id: int
    state: State
    worker_id: str
    trace: str = ""
    version: str | None = None


class Status(msgspec.Struct, frozen=True):
    """A connector with its tasks. RUNNING is what Connect believes; it does not say that data flows."""

    name: str
    connector: ConnectorState
    tasks: tuple[TaskStatus, ...]
    type: str = "unknown"

    @property
    def running(self) -> bool:
        """The connector and at least one task run, and no task does not."""
        states = [self.connector.state, *(task.state for task in self.tasks)]
        return len(states) > 1 and set(states) == {"RUNNING"}

    @property
    def stopped(self) -> bool:
        """STOPPED with no task left: slot and sessions are free, offsets can be changed."""
        return self.connector.state == "STOPPED" and not self.tasks

    @property
    def failure(self) -> tuple[str, str] | None:
        """What is FAILED first, `connector` or `task 0`, and its trace."""
        parts = [("connector", self.connector), *((f"task {task.id}", task) for task in self.tasks)]
        return next(((part, of.trace) for part, of in parts if of.state == "FAILED"), None)

    @property
    def label(self) -> str:
        """`wake_airline RUNNING, task 0 FAILED`, for messages and logs."""
        tasks = "".join(f", task {task.id} {task.state}" for task in self.tasks) or ", no tasks"
        return f"{self.name} {self.connector.state}{tasks}"


class TaskId(msgspec.Struct, frozen=True):
    """Which task of which connector."""

    connector: str
    task: int


class TaskInfo(msgspec.Struct, frozen=True):
    """A task with the configuration that the connector gave it. The configuration stays out of its repr."""

    id: TaskId
    config: Config

    def __repr__(self) -> str:
        return f"TaskInfo({self.id.connector}-{self.id.task}, config of {len(self.config)} settings)"


class ConnectorInfo(msgspec.Struct, frozen=True):
    """A connector as configured, placeholders unresolved. Its repr hides the configuration: it may hold a password."""

    name: str
    config: Config
    tasks: tuple[TaskId, ...] = ()
    type: str | None = None

    def __repr__(self) -> str:
        return f"ConnectorInfo({self.name}, config of {len(self.config)} settings, {len(self.tasks)} tasks)"


class Listed(msgspec.Struct, frozen=True):
    """A connector in the expanded listing."""

    status: Status
    info: ConnectorInfo


class Plugin(msgspec.Struct, frozen=True):
    """A plugin that the worker has loaded."""

    class_name: str = msgspec.field(name="class")
    type: str
    version: str | None = None


class ConfigKey(msgspec.Struct, frozen=True):
    """One setting that a plugin knows."""

    name: str
    type: str
    required: bool
    importance: str
    default_value: str | None = None
    documentation: str | None = None
    group: str | None = None


class FieldValue(msgspec.Struct, frozen=True):
    """What validation thought of one setting. The value itself is not kept: it may be a password."""

    name: str
    errors: tuple[str, ...] = ()
    recommended_values: tuple[Any, ...] = ()
    visible: bool = True


class Field(msgspec.Struct, frozen=True):
    """One setting in a validation."""

    value: FieldValue


class Validation(msgspec.Struct, frozen=True):
    """A configuration that was judged and not applied."""

    name: str
    error_count: int
    configs: tuple[Field, ...] = ()

    @property
    def errors(self) -> dict[str, tuple[str, ...]]:
        """The problems by setting; empty when the configuration is good."""
        return {field.value.name: field.value.errors for field in self.configs if field.value.errors}


class Offset(msgspec.Struct, frozen=True):
    """How far a connector has come in one partition of its source; `offset` null deletes it."""

    partition: dict[str, Any]
    offset: dict[str, Any] | None = None


class Logger(msgspec.Struct, frozen=True):
    """A logger of the worker; `last_modified` in milliseconds since 1970, null while nobody has set it."""

    level: str
    last_modified: int | None = None


class Topics(msgspec.Struct, frozen=True):
    """The topics a connector has written to."""

    topics: tuple[str, ...]


class Offsets(msgspec.Struct, frozen=True):
    """The offsets of all partitions of a connector's source."""

    offsets: tuple[Offset, ...]


class Message(msgspec.Struct, frozen=True):
    """What Connect says after a change of offsets."""

    message: str
