"""Actions in the file: what every kind has, and a section for each kind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from wakestream.config.sections import Duration, Section


class Choice(Section):
    """The model picks one element of a list by its key."""

    from_: str = Field(alias="from")
    key: str


class ActionSection(Section):
    """What every kind of action has."""

    description: str = ""
    """One sentence for the model: what the action does."""
    bind: dict[str, str] = {}
    choose: dict[str, Choice] = {}
    parameters: dict[str, dict[str, Any]] = {}
    approval: str
    """`always`, `never`, or a condition that is true when a person must approve."""
    trust_model_arguments: bool = False


class SqlAction(ActionSection):
    """A statement in a database, exactly once."""

    kind: Literal["sql"]
    connection: str
    statement: str
    rows: int | None = Field(default=None, ge=0)
    timeout: Duration = 10.0


class WebhookAction(ActionSection):
    """A signed POST with an idempotency key."""

    kind: Literal["webhook"]
    url: str
    secret: SecretStr | None = None
    idempotent: bool = False
    timeout: Duration = 10.0


Action = Annotated[SqlAction | WebhookAction, Field(discriminator="kind")]
