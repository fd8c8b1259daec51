"""Actions in the file: what every kind has, and a section for each kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from wakestream.config.policy import PolicySection
from wakestream.config.sections import Duration, Section


class Choice(Section):
    """The model picks one element of a list by its key."""

    from_: str = Field(alias="from")
    key: str


class ActionSection(PolicySection):
    """What every kind of action has."""

    description: str = ""
    """One sentence for the model: what the action does."""
    bind: dict[str, str] = {}
    choose: dict[str, Choice] = {}
    parameters: dict[str, dict[str, Any]] = {}
    approval: str
    """`always`, `never`, or a condition that is true when a person must approve."""
    trust_model_arguments: bool = False
    check: str | None = None
    """A lookup that tells whether the action took effect where that is unknown: a row says yes."""


BEFORE = "before_"
"""How placeholders of `undo` begin that stand for what a column was: `:before_flight_id`."""


class SqlAction(ActionSection):
    """A statement in a database, exactly once."""

    kind: Literal["sql"]
    connection: str
    statement: str
    undo: str | None = None
    """What takes it back: a statement that may use `:before_COLUMN` besides what `statement` may."""
    rows: int | None = Field(default=None, ge=0)
    timeout: Duration = 10.0


class WebhookAction(ActionSection):
    """A signed POST with an idempotency key."""

    kind: Literal["webhook"]
    url: str
    secret: SecretStr | None = None
    idempotent: bool = False
    timeout: Duration = 10.0


class KafkaAction(ActionSection):
    """A CloudEvent on a topic of the configured broker, exactly once for who reads what is committed."""

    kind: Literal["kafka"]
    topic: str = Field(min_length=1)
    key: str | None = None
    """An expression whose value is the record's key; it may read `bound` and `chosen`."""
    type: str | None = Field(default=None, min_length=1)
    """The event's type; by itself `wake.action.` and the action's name."""
    timeout: Duration = 10.0


class McpAction(ActionSection):
    """One call of a tool of an MCP server."""

    kind: Literal["mcp"]
    server: str
    tool: str
    idempotent: bool = False
    timeout: Duration = 30.0


class RunAction(ActionSection):
    """Another agent takes over, for the same event."""

    kind: Literal["run"]
    agent: str


class PythonAction(ActionSection):
    """A call of a function in the agent's process."""

    kind: Literal["python"]
    call: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    """`module:function`, importable by the agent."""
    idempotent: bool = False
    timeout: Duration = 10.0


Action = Annotated[
    SqlAction | WebhookAction | KafkaAction | McpAction | RunAction | PythonAction, Field(discriminator="kind")
]
