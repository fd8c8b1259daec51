"""A database of a test's own, attached with `wake apply`, with a ledger of its own and the processes of `wake`."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, urlsplit

import psycopg
from psycopg import sql
from sqlalchemy import Engine

from connectors.apply import apply
from connectors.detach import detach
from console import sessions
from console.insights import Insights
from console.operations import Operations
from localstack import Stack
from tests.harness import processes
from tests.harness.stack import REPOSITORY, drop_database
from tests.harness.waiting import eventually
from wakestream import config, ledger
from wakestream.config import Loaded

Connection = psycopg.Connection[Any]

# Every numbered point of the agent's cycle at which it can be held, as its own source names them.
FAILPOINTS = tuple(
    sorted(
        {
            name
            for file in sorted((REPOSITORY / "agent").rglob("*.py"))
            for name in re.findall(r'reach\("(agent\.[^"]+)"\)', file.read_text())
        }
    )
)

# The top of every configuration here; a test adds its tables, triggers, agents and actions.
HEAD = """\
kafka: {bootstrap_servers: "${KAFKA_BOOTSTRAP}", topics: {context_partitions: 3}}
connect: {url: "${CONNECT_URL}", secrets: "${CONNECT_SECRETS}"}
ledger: {url: "${LEDGER_URL}", lookups: "${LOOKUPS_URL}"}
connections: {ops: "${OPS_URL}"}
"""


@dataclass(frozen=True)
class World:
    """One attached source with its ledger, and what people may ask of them."""

    source: str
    url: str
    """The database, as superuser."""
    file: Path
    """The configuration."""
    variables: Mapping[str, str]
    """What the configuration takes from the environment."""

    @property
    def directory(self) -> Path:
        return self.file.parent

    @cached_property
    def loaded(self) -> Loaded:
        return config.load(self.file, self.variables)

    def connect(self) -> Connection:
        """A session with the source, in autocommit."""
        return psycopg.connect(self.url, autocommit=True)

    def ledger(self) -> Connection:
        """A session with the ledger, in autocommit."""
        return psycopg.connect(self.variables["LEDGER_URL"], autocommit=True)

    def execute(self, statement: str, *values: object) -> None:
        """One statement in the source, committed."""
        with self.connect() as connection:
            connection.execute(statement.encode(), values or None)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the source answers."""
        with self.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    def told(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the ledger answers."""
        with self.ledger() as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    @cached_property
    def _engine(self) -> Engine:
        return sessions.open_ledger(self.variables["LEDGER_URL"])

    @property
    def insights(self) -> Insights:
        return Insights(self._engine, self.loaded.config)

    @cached_property
    def token(self) -> str:
        """Of an operator made for this test."""
        return Operations(self._engine, None).add_operator("tester")

    @property
    def operations(self) -> Operations:
        return Operations(self._engine, self.token)

    def wake(self, *arguments: str) -> list[dict[str, Any]]:
        """What the command prints with `--json`."""
        return [json.loads(line) for line in self.wake_text(*arguments, "--json").splitlines()]

    def wake_text(self, *arguments: str) -> str:
        """What the command prints."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "-c", str(self.file), *arguments],
            capture_output=True,
            check=False,
            cwd=REPOSITORY,
            env={**os.environ, **self.variables, "WAKE_TOKEN": self.token},
        )
        assert done.returncode == 0, f"wake {' '.join(arguments)} ends with {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode()

    def wait_mirrored(self) -> None:
        """Until the consumer has every table's snapshot."""
        query = "select count(*) from wake.mirror_state where source = %s and complete"
        wanted = len(self.loaded.config.sources[self.source].tables)
        eventually(lambda: self.told(query, self.source) == [(wanted,)], "complete mirrors")


class WakeProcess:
    """One process of `wake` in a world, started as often as a test likes; ends with the `with` block."""

    def __init__(self, world: World, *arguments: str, name: str | None = None) -> None:
        """`name` keeps apart the logs and failpoints of several with the same command."""
        self._world = world
        self._arguments = arguments
        self._log = world.directory / f"{name or arguments[0]}.log"
        self._points = world.directory / "failpoints" / (name or arguments[0])
        self._points.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False
        """Whether the test has ended it."""

    def __enter__(self) -> WakeProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for armed in self._points.glob("*.hold"):
            armed.unlink()
        if error is not None:
            error.add_note(f"end of {self._log}:\n" + "\n".join(self.log.splitlines()[-40:]))
            if self.is_running:
                self.kill()
        elif not self._ended:
            assert self.is_running, f"wake {self._arguments[0]} ended by itself:\n{self.log[-3000:]}"
            assert self.stop() == 0, self.log[-3000:]

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._known().pid

    @property
    def log(self) -> str:
        """What all its lives have said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        assert not self.is_running
        self._ended = False
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "-c", str(self._world.file), *self._arguments],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                cwd=REPOSITORY,
                env={**os.environ, **self._world.variables, "WAKE_FAILPOINTS": str(self._points)},
            )

    def kill(self) -> None:
        """SIGKILL, and see that it was this which ended it."""
        self._ended = True
        self._known().kill()
        assert self._known().wait(60) == -signal.SIGKILL

    def freeze(self) -> None:
        """SIGSTOP: its connections stay open and nothing moves."""
        self._known().send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def thaw(self) -> None:
        self._known().send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """SIGTERM, and what became of it."""
        self._ended = True
        self._known().terminate()
        return self._known().wait(60)

    def hold(self, point: str) -> None:
        """Let it stop at a failpoint when it comes there next."""
        assert point in (*FAILPOINTS, *processes.FAILPOINTS), point
        (self._points / f"{point}.reached").unlink(missing_ok=True)
        (self._points / f"{point}.hold").touch()

    def wait_held(self, point: str, *, within: float = 60.0) -> None:
        """Until the process that runs now stands at the failpoint."""
        reached = self._points / f"{point}.reached"

        def stands() -> bool:
            assert self.is_running, f"it ended before {point}:\n{self.log[-3000:]}"
            return reached.exists() and reached.read_text() == str(self.pid)

        eventually(stands, f"wake {self._arguments[0]} at {point}", within=within)

    def release(self, point: str) -> None:
        (self._points / f"{point}.hold").unlink(missing_ok=True)

    def _known(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was never started"
        return self._process


@contextmanager
def attached_world(
    stack: Stack, env: Mapping[str, str], directory: Path, *, ddl: str, wake: str, prompt: str, **variables: str
) -> Generator[World]:
    """A new database with this schema, attached as the configuration says; SOURCE in it stands for the source's name.

    Actions run as a role that may read and write rows and nothing else.
    """
    name = f"w{secrets.token_hex(5)}"
    with own_database(env["POSTGRES_URL"], name, owner=None) as url, own_ledger(stack, env["LEDGER_URL"], name) as own:
        role = f"{name}_ops"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(ddl.encode())
            _make_role(connection, role)
        try:
            file = directory / "wake.yaml"
            file.write_text(HEAD + wake.replace("SOURCE", name))
            (directory / "prompt.md").write_text(prompt)
            lookups = urlsplit(env["LOOKUPS_URL"])._replace(path=f"/{name}").geturl()
            urls = {"LEDGER_URL": own, "LOOKUPS_URL": lookups, "DATABASE_URL": url, "OPS_URL": _as(urlsplit(url), role)}
            world = World(name, url, file, {**env, **urls, **variables})
            apply(world.loaded)
            try:
                yield world
            finally:
                detach(world.loaded, name, with_topics=True)
        finally:
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in ("drop owned by {} cascade", "drop role {}"):
                    connection.execute(sql.SQL(statement).format(sql.Identifier(role)))


def _as(url: SplitResult, user: str, password: str | None = None) -> str:
    return url._replace(netloc=f"{user}:{password or user}@{url.hostname}:{url.port}").geturl()


def _make_role(connection: Connection, role: str) -> None:
    name = sql.Identifier(role)
    connection.execute(sql.SQL("create role {} login password {}").format(name, sql.Literal(role)))
    connection.execute(
        sql.SQL("grant select, insert, update, delete on all tables in schema public to {}").format(name)
    )
    connection.execute(sql.SQL("grant usage on all sequences in schema public to {}").format(name))


@contextmanager
def own_ledger(stack: Stack, url: str, name: str) -> Generator[str]:
    """A ledger of its own: runs that other tests left behind are not this agent's to claim."""
    parts = urlsplit(url)
    superuser = _as(parts._replace(path="/postgres"), "postgres", stack.home.password("postgres"))
    with own_database(superuser, name, owner=parts.username):
        own = parts._replace(path=f"/{name}").geturl()
        ledger.migrate(own)
        yield own


@contextmanager
def own_database(superuser: str, name: str, *, owner: str | None) -> Generator[str]:
    """A new database, dropped afterwards with its slots; gives its URL as superuser."""
    with psycopg.connect(superuser, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        if owner:
            statement = sql.SQL("alter database {} owner to {}")
            admin.execute(statement.format(sql.Identifier(name), sql.Identifier(owner)))
    try:
        yield urlsplit(superuser)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(superuser, autocommit=True) as admin:
            drop_database(admin, name)
