"""A PostgreSQL of a test's own, whose settings may be changed with ALTER SYSTEM and which may be restarted."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from localstack import processes, requirements
from localstack.home import Home
from localstack.postgres import SUPERUSER, Cluster
from tests.harness.stack import own_home
from tests.harness.waiting import eventually

SMALL = {
    "wal_level": "logical",
    "max_replication_slots": "4",
    "max_wal_senders": "4",
    "max_slot_wal_keep_size": "64GB",
    "max_prepared_transactions": "2",
    "max_connections": "60",
    "fsync": "off",
    "autovacuum": "off",
    "scram_iterations": "1",  # Sessions are many here, and passwords no secret.
}


class Server:
    """One cluster. Its settings stand in postgresql.conf, so that nothing of the command line stands above them."""

    def __init__(self, home: Path, settings: Mapping[str, str]) -> None:
        self._home = Home(home)
        self._home.prepare()
        self._home.assign_ports(set())
        self._cluster = Cluster("source-db", self._home)
        self._cluster.prepare()
        command = self._cluster.command()
        self.data, self._user = command.cwd, command.user
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self._home.port("source-db")

    def url(self, database: str = "postgres") -> str:
        """A database, as superuser."""
        return self._cluster.url(SUPERUSER, database)

    def execute(self, statements: str, database: str = "postgres") -> None:
        """Run statements as superuser, each for itself, a line each."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for line in filter(None, map(str.strip, statements.split("\n"))):
                connection.execute(line.encode())

    def start(self) -> None:
        """Start it and wait until it answers."""
        argv = [str(requirements.find_postgres() / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        argv += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        with (self.data / "test.log").open("ab") as log:
            self._process = subprocess.Popen(argv, cwd=self.data, stderr=log, **processes.identity(self._user))
        eventually(lambda: self._cluster.check() is None, "the test's own PostgreSQL")

    def stop(self) -> None:
        """End it, sessions and all."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def restart(self) -> None:
        """With the settings that ALTER SYSTEM left."""
        self.stop()
        self.start()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs on the stopped cluster."""
        argv = [str(requirements.find_postgres() / program), *arguments, "-D", str(self.data)]
        subprocess.run(argv, cwd=self.data, check=True, capture_output=True, **processes.identity(self._user))

    def touch(self, name: str) -> None:
        """Make an empty file in the data directory, as the server's user would."""
        path = self.data / name
        path.touch()
        owner = self.data.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def small_server(**settings: str) -> Generator[Server]:
    """A running cluster, gone afterwards."""
    with own_home() as home:
        server = Server(home, {**SMALL, **settings})
        server.start()
        try:
            yield server
        finally:
            server.stop()
