"""What is played on a stage, and who decides in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from examples.database import Database


@dataclass(frozen=True)
class Play:
    """What is played on a stage."""

    database: Database
    """Its name is the source's too."""
    triggers: tuple[str, ...]
    receiver: str
    """The module in the example's package that receives the messages; CRM_URL and CRM_SECRET are those of `crm`."""
    usual_home: Path
    """Where its state is, unless WAKE_HOME says otherwise."""
    script: str = "decide_all"
    """Who decides where there is no model: one of `agent.testing.SCRIPTS`."""
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    """What its `wake.yaml` takes from the environment besides."""
    topics: tuple[str, ...] = ()
    """Topics that actions write to and others read."""

    @property
    def source(self) -> str:
        """The source's name in `wake.yaml`."""
        return self.database.name

    @property
    def config(self) -> Path:
        """Its `wake.yaml`."""
        return self.database.directory / "wake.yaml"

    @property
    def home(self) -> Path:
        """Where its state is."""
        return Path(os.environ.get("WAKE_HOME") or self.usual_home)

    @property
    def receiver_url(self) -> str:
        """The variable that says where messages go."""
        return f"{self.receiver.upper()}_URL"

    @property
    def receiver_secret(self) -> str:
        """The variable with what signs them."""
        return f"{self.receiver.upper()}_SECRET"


@dataclass(frozen=True)
class ModelChoice:
    """Who decides: by default the local model."""

    base_url: str | None = None
    """Another server that speaks OpenAI's chat completions."""
    name: str | None = None
    """What that server calls the model."""
    scripted: bool = False
    """No model at all: a server that takes the first of every choice."""


def end_unfinished(url: str, play: Play) -> None:
    """End what a story that was broken off has left in the ledger: it would go on in the middle of the next one."""
    ours = (list(play.triggers),)
    with psycopg.connect(url) as connection:
        if connection.execute("select to_regclass('wake.partition_position') is null").fetchone() == (True,):
            return
        connection.execute(
            "update wake.action set state = 'rejected', reason = 'the story began anew'"
            " where run in (select id from wake.run where trigger = any(%s))"
            " and state not in ('succeeded', 'rejected', 'stale', 'expired', 'failed')",
            ours,
        )
        connection.execute(
            "update wake.run set state = 'cancelled', error = 'the story began anew', finished_at = clock_timestamp()"
            " where trigger = any(%s) and state in ('pending', 'running', 'waiting', 'parked')",
            ours,
        )
        # The next agent starts at the end of the topic: it must not read what the last one has not.
        connection.execute("delete from wake.partition_position where topic = %s", (f"{play.source}.context",))
