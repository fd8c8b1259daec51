"""Everything that a story plays on: the stack, the example's database, the model, and the processes beside them."""

from __future__ import annotations

import hashlib
import os
import secrets
import shlex
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import requests
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg import sql

from examples import play
from examples.play import ModelChoice, Play
from localstack import Stack, health, model, processes
from localstack.home import free_port
from localstack.model_server import ModelServer
from localstack.processes import Command, PidFile
from wakestream import ledger
from wakestream.errors import FatalError

REPOSITORY = Path(__file__).parents[1]
PATIENCE = 90.0  # seconds for a process to come up, and for the consumer to catch up
END_PATIENCE = 20.0  # seconds for a process to end
POLL = 0.1  # seconds

Report = Callable[[str], None]


@dataclass
class Stage:
    """One state directory with all that runs for it."""

    play: Play
    home: Path
    report: Report
    env: dict[str, str] = field(default_factory=dict[str, str])
    """What `wake.yaml` and the commands need."""
    _was_up: bool = False
    _served_before: bool = False

    def __post_init__(self) -> None:
        self.home = self.home.resolve()
        self.stack = Stack(self.home)
        self.directory = self.home / self.play.source
        self._server = ModelServer(self.home)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")

    def set(self, choice: ModelChoice) -> None:
        """Bring everything up, with all rows as they were in the beginning."""
        (self.directory / "logs").mkdir(parents=True, exist_ok=True)
        self._was_up = _is_up(self.stack)
        self._served_before = self._server.process() is not None
        self.stop_processes()  # those that --keep or a crash has left
        served = self._pool.submit(self._serve_model, choice)
        self.stack.up(self.report)
        self._prepare_database()
        self._make_topics()
        self.wake("apply", "--yes")
        self.env |= self.stack.env()  # the first `apply` has made the operator's token
        self._start_receiver()
        self._start_consumer()
        self._finish_environment(choice, served)
        self._start_agent()
        self.report("everything runs")

    def wake(self, *arguments: str) -> str:
        """Run a `wake` command as a person would; returns what it printed."""
        done = subprocess.run(
            [*WAKE, *arguments],
            env={**os.environ, **self.env},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise FatalError(f"`wake {' '.join(arguments)}` ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def check(self) -> None:
        """Raise `FatalError` when one of our processes has ended, with what its log says."""
        for name in PROCESSES:
            file = self._pid_file(name)
            if file.path.exists() and file.process() is None:
                raise FatalError(f"`{name}` has ended.{health.quote(self._log(name))}")

    def strike(self) -> None:
        """Stop everything that was not running before."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.stop_processes()
        if not self._served_before and self._server.stop():
            self.report("model: stopped")
        if not self._was_up:
            self.stack.down(report=self.report)

    def stop_processes(self) -> None:
        """Stop consumer, agent, receiver and scripted model."""
        for name in PROCESSES:
            file = self._pid_file(name)
            process = file.process()
            if process is not None:
                processes.stop(process, signal.SIGTERM, END_PATIENCE)
            file.remove()

    def remove(self) -> None:
        """Detach, and drop the airline's database: as if it had never been here. The ledger keeps what it knows."""
        self.stop_processes()
        self.wake("detach", self.play.source, "--topics", "--yes")
        with psycopg.connect(self.env["POSTGRES_URL"], autocommit=True) as admin:
            name = sql.Identifier(self.play.database.name)
            admin.execute(sql.SQL("drop database if exists {} with (force)").format(name))
        self._schema_file.unlink(missing_ok=True)

    def messages(self) -> dict[str, Any]:
        """What the receiver has been sent."""
        return requests.get(self.env[self.play.receiver_url], timeout=10).json()

    def wait_read(self) -> None:
        """Wait until the agent has read everything that has been committed by now."""
        query = "select count(*) > 0 and bool_and(clock > %s) from wake.partition_position where topic = %s"
        values = (self._source_time(), f"{self.play.source}.context")
        self._wait("the agent", lambda: self._is_so(query, values))

    @property
    def owner(self) -> str:
        """The URL of the database's owner."""
        return self.env[self.play.database.owner]

    @property
    def environment_file(self) -> Path:
        """What another terminal sources before it uses `wake`."""
        return self.home / f"{self.play.source}.env"

    @property
    def _schema_file(self) -> Path:
        return self.directory / "schema.sha256"

    def _prepare_database(self) -> None:
        self.env |= self.stack.env() | {
            "WAKE_HOME": str(self.home),
            "WAKE_CONFIG": str(self.play.config),
            **self.play.variables,
        }
        cluster, database = self.env["POSTGRES_URL"], self.play.database
        digest = hashlib.sha256((database.directory / "schema.sql").read_bytes()).hexdigest()
        known = self._schema_file.read_text() if self._schema_file.exists() else digest
        self.env |= database.create(cluster, self.directory) | self._receiver_variables()
        if known != digest:
            self.report(f"the schema has changed: the database of {database.name} is made anew")
            self.remove()
            self.env |= database.create(cluster, self.directory)
        self._schema_file.write_text(digest)
        play.end_unfinished(self.env["LEDGER_URL"], self.play)
        database.seed(self.owner)
        self.report(f"{database.name}: database, roles and rows are there")

    def _make_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.env["KAFKA_BOOTSTRAP"]})
        known = admin.list_topics(timeout=10).topics
        for topic in set(self.play.topics) - set(known):
            admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()

    def _receiver_variables(self) -> dict[str, str]:
        file = self.directory / f"{self.play.receiver}.secret"
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(f"whsec_{b64encode(secrets.token_bytes(24)).decode()}")
        address = f"http://127.0.0.1:{free_port()}"
        return {self.play.receiver_url: address, self.play.receiver_secret: file.read_text()}

    def _serve_model(self, choice: ModelChoice) -> str:
        """Return the base URL of whoever decides."""
        if choice.scripted:
            return self._start_scripted()
        if choice.base_url is not None:
            return choice.base_url
        if not model.is_pulled():
            self.report(f"model: fetching {model.DEFAULT.name}, {model.DEFAULT.size / 1e9:.1f} GB, once")
        model.pull(_Tenths(self.report))
        url = self._server.serve()
        self.report(f"model: {model.DEFAULT.name} is served, {url}")
        return url

    def _start_scripted(self) -> str:
        port = free_port()
        script = ["agent.testing", "--script", self.play.script, "--port", str(port)]
        address = f"http://127.0.0.1:{port}"
        self._start("model", [sys.executable, "-m", *script])
        self._wait("the scripted model", lambda: _answers(address))
        return f"{address}/v1"

    def _start_receiver(self) -> None:
        address, name = self.env[self.play.receiver_url], self.play.receiver
        module = f"{self.play.database.directory.relative_to(REPOSITORY).as_posix().replace('/', '.')}.{name}"
        self._start("receiver", [sys.executable, "-m", module, "--port", address.rpartition(":")[2]])
        self._wait("the receiver", lambda: _answers(address))
        self.report(f"{name}: receives messages at {address}")

    def _start_consumer(self) -> None:
        since = self._source_time()
        self._start("consume", [*WAKE, "consume"])
        query = (
            "select s.clock > %s and (select bool_and(complete) from wake.mirror_state where source = s.source)"
            " from wake.source_position s where s.source = %s"
        )
        self._wait("the consumer", lambda: self._is_so(query, (since, self.play.source)))
        self.report("wake consume: the context store is complete")

    def _start_agent(self) -> None:
        self._start("agent", [*WAKE, "agent", "--workers", "2"])
        self.wait_read()
        self.report("wake agent: reads the context events")

    def _finish_environment(self, choice: ModelChoice, served: Future[str]) -> None:
        self.env["MODEL_URL"] = served.result()
        if choice.name is not None:
            self.env["MODEL_NAME"] = choice.name
        if choice.base_url is not None and "OPENAI_API_KEY" in os.environ:
            self.env["MODEL_API_KEY"] = os.environ["OPENAI_API_KEY"]
        lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(self.env.items())]
        lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
        self.environment_file.touch(mode=0o600)
        self.environment_file.write_text("\n".join([*lines, ""]))

    def _start(self, name: str, argv: list[str]) -> None:
        environment = {**self.env, "PYTHONUNBUFFERED": "1"}
        process = processes.start(Command(argv, cwd=REPOSITORY, environment=environment), self._log(name))
        if process is None:
            raise FatalError(f"`{name}` ended while it was starting.{health.quote(self._log(name))}")
        self._pid_file(name).write(process)

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise FatalError(f"{what} is not ready after {PATIENCE:.0f} s; logs: {self.directory / 'logs'}")
            time.sleep(POLL)

    def _is_so(self, query: str, values: tuple[object, ...]) -> bool:
        with ledger.connect(self.env["LEDGER_URL"], name="demo") as connection:
            return connection.execute(query.encode(), values).fetchone() == (True,)

    def _source_time(self) -> object:
        with psycopg.connect(self.owner) as connection:
            row = connection.execute("select clock_timestamp()").fetchone()
            return row[0] if row else None

    def _pid_file(self, name: str) -> PidFile:
        return PidFile(self.directory / f"{name}.json")

    def _log(self, name: str) -> Path:
        return self.directory / "logs" / f"{name}.log"


PROCESSES = ("agent", "consume", "receiver", "model")
WAKE = (sys.executable, "-m", "cli.main")


class _Tenths:
    """Reports progress when another tenth is done."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._said = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = done * 10 // total
        if 0 < tenth < 10 and tenth > self._said:
            self._said = tenth
            self._report(f"model: {tenth * 10} %")


def _is_up(stack: Stack) -> bool:
    return stack.home.exists() and all(part.state == "running" for part in stack.status())


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False
