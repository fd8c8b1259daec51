"""The two PostgreSQL clusters: one for the sources, one for the ledger."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from localstack import processes, requirements
from localstack.home import Home
from localstack.parts import PartName
from localstack.processes import Command
from wakestream import directory_lock
from wakestream.errors import FatalError

SYSTEM_USER = "wakestream"  # PostgreSQL refuses to run as root
ETC = Path("/etc")  # where users stand
SUPERUSER = "postgres"
LEDGER = "ledger"
LEDGER_OWNER = "wake"
LOOKUPS_ROLE = "wake_lookups"
SETTINGS: dict[str, dict[str, str]] = {
    "source-db": {
        "wal_level": "logical",
        "max_wal_senders": "20",
        "max_replication_slots": "20",
        "max_connections": "200",
    },
    "ledger-db": {"wal_level": "replica", "max_connections": "200"},
}


class Cluster:
    """One PostgreSQL server on TCP, where every role needs its password as it would in production."""

    stop_signal = signal.SIGINT  # fast shutdown
    patience = 60.0

    def __init__(self, name: Literal["source-db", "ledger-db"], home: Home) -> None:
        self.name: PartName = name
        self._home = home
        self._directory = home.path / name
        self._data = self._directory / "data"
        self.marker = str(self._data)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._home.port(self.name)}"

    def url(self, role: str, database: str) -> str:
        """Return the connection URL of a role."""
        return f"postgresql://{role}:{self._home.password(role)}@{self.address}/{database}"

    def prepare(self) -> None:
        """Make the cluster where there is none; end what a killed server left behind."""
        if not self._data.exists():
            self._initialise()
        if os.geteuid() == 0:
            _open_way(self._data)
            _open_way(requirements.find_postgres())
        # Backends outlive a killed server for a moment, and a new one must not start beside them.
        orphans = processes.working_in(self._data, "postgres")
        processes.send(orphans, signal.SIGKILL)
        processes.wait_gone(orphans, 10.0)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> Command:
        """Return how to start the server."""
        settings = {
            **SETTINGS[self.name],
            "listen_addresses": "127.0.0.1",
            "port": str(self._home.port(self.name)),
            "unix_socket_directories": "",
        }
        return Command(
            argv=[str(requirements.find_postgres() / "postgres"), "-D", str(self._data), *_options(settings)],
            cwd=self._data,
            user=_system_user(),
        )

    def check(self) -> str | None:
        """Ask for one row."""
        try:
            with psycopg.connect(self.url(SUPERUSER, "postgres"), connect_timeout=2) as connection:
                connection.execute("select 1")
        except psycopg.Error as exc:
            return str(exc).strip().splitlines()[-1]
        return None

    def settle(self) -> None:
        """Make the ledger's roles and database where they are missing."""
        if self.name != "ledger-db":
            return
        with psycopg.connect(self.url(SUPERUSER, "postgres"), autocommit=True) as connection:
            for role in (LEDGER_OWNER, LOOKUPS_ROLE):
                self._settle_role(connection, role)
            read_only = sql.SQL("alter role {} set default_transaction_read_only = on")
            connection.execute(read_only.format(sql.Identifier(LOOKUPS_ROLE)))
            if connection.execute("select 1 from pg_database where datname = %s", [LEDGER]).fetchone() is None:
                create = sql.SQL("create database {} owner {}")
                connection.execute(create.format(sql.Identifier(LEDGER), sql.Identifier(LEDGER_OWNER)))

    def _settle_role(self, connection: psycopg.Connection, role: str) -> None:
        exists = connection.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone()
        verb = sql.SQL("alter" if exists else "create")
        statement = sql.SQL("{} role {} login password {}")
        connection.execute(statement.format(verb, sql.Identifier(role), sql.Literal(self._home.password(role))))

    def _initialise(self) -> None:
        """Run initdb beside the final place and move the result there: a half-made cluster is never taken for one."""
        self._directory.mkdir(parents=True, exist_ok=True)
        user = _system_user()
        if user is not None:
            _make_user(user)
            shutil.chown(self._directory, user, user)
            _open_way(self._directory / "data")
            _open_way(requirements.find_postgres())
        with tempfile.TemporaryDirectory(prefix="new-", dir=self._directory) as name:
            new = Path(name)
            password = new / "password"
            password.write_text(self._home.password(SUPERUSER))
            if user is not None:
                for path in (new, password):
                    shutil.chown(path, user, user)
            self._initdb(new / "data", password, user)
            (new / "data").rename(self._data)

    def _initdb(self, data: Path, password: Path, user: str | None) -> None:
        arguments = ["--username", SUPERUSER, "--pwfile", str(password), "--auth", "scram-sha-256"]
        arguments += ["--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8", "--no-sync"]
        made = subprocess.run(
            [str(requirements.find_postgres() / "initdb"), "-D", str(data), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=data.parent,
            **processes.identity(user),
        )
        if made.returncode != 0:
            raise FatalError(f"{self.name}: initdb failed: {(made.stderr or made.stdout).strip()}")


def _options(settings: Mapping[str, str]) -> list[str]:
    return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]


def _system_user() -> str | None:
    return SYSTEM_USER if os.geteuid() == 0 else None


def _make_user(name: str) -> None:
    """Make the system user once, though two clusters, or two stacks, start at the same time.

    useradd looks for the name before it locks its files, and then writes over what another one has made meanwhile.
    """
    if _has_user(name):
        return
    with directory_lock.held(ETC):
        if _has_user(name):
            return
        made = subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            text=True,
            check=False,
        )
    if made.returncode != 0:
        raise FatalError(f"PostgreSQL does not run as root, and user {name} cannot be made: {made.stderr.strip()}")


def _has_user(name: str) -> bool:
    """Whether a user and its group are there: useradd writes the one before the other."""
    try:
        pwd.getpwnam(name)
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _open_way(path: Path) -> None:
    """Let the system user pass through the directories above `path`; it does not let it list them."""
    for directory in path.parents:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)
