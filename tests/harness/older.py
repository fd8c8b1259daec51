"""Debian's older PostgreSQL as a source, where it is installed: a server of its own for as long as it is needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from localstack import processes
from localstack.home import free_port
from localstack.postgres import SUPERUSER, SYSTEM_USER
from tests.harness.stack import own_home
from tests.harness.waiting import eventually

BINARIES = Path("/usr/lib/postgresql/15/bin")


def is_installed() -> bool:
    """Whether this machine has it."""
    return (BINARIES / "postgres").exists()


@contextmanager
def older_server() -> Generator[str]:
    """The URL of a fresh server's database `postgres`, as superuser. The stack has made the user that runs it."""
    user = SYSTEM_USER if os.geteuid() == 0 else None
    with own_home() as home:
        if user is not None:
            shutil.chown(home, user, user)
        data, port = home / "data", free_port()
        made = ["--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]
        subprocess.run(
            [str(BINARIES / "initdb"), "-D", str(data), *made],
            check=True,
            capture_output=True,
            cwd=home,
            **processes.identity(user),
        )
        settings = ("wal_level=logical", f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        server = subprocess.Popen(
            [str(BINARIES / "postgres"), "-D", str(data), *(word for each in settings for word in ("-c", each))],
            cwd=home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **processes.identity(user),
        )
        url = f"postgresql://{SUPERUSER}@127.0.0.1:{port}/postgres"
        try:
            eventually(lambda: _answers(url), f"PostgreSQL 15 on port {port}")
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
