"""The life of an attached source under load: planned, applied, killed, changed, detached, and nobody waits for us."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors import databases, matching
from connectors.apply import apply, planning
from connectors.detach import detach
from localstack import Stack
from tests.harness import older
from tests.harness.context import ContextLog
from tests.harness.processes import ConsumerProcess
from tests.harness.stack import REPOSITORY, SourceDatabase
from tests.harness.tending import Tending
from tests.harness.waiting import eventually
from tests.stack.attaching import Attachable, attachable
from wakestream import topics
from wakestream.config import Loaded
from wakestream.errors import RefusedError

ODD = 'public.Sitz"Plan"Ä'
QUOTED = '"Sitz""Plan""Ä"'
SEATS = 3000
SEED = 4
MOST_STEPS = 20

ADDED = ("public.flight: {}", f"public.flight: {{}}\n      '{ODD}': {{}}")
SHOWN = ("exclude: [passport_no], mask: {email: hash}", "mask: {email: hash, remarks: redact}")
MASKED = ("exclude: [passport_no], mask: {email: hash}", "mask: {email: hash, remarks: redact, passport_no: hash}")


@pytest.fixture
def older_database(stack: Stack) -> Generator[SourceDatabase]:
    with older.older_server() as url:
        yield SourceDatabase("postgres", url)


@pytest.fixture(params=["source_database", "older_database"], ids=["18", "15"])
def airline(request: pytest.FixtureRequest, env: dict[str, str], tmp_path: Path) -> Generator[Attachable]:
    if request.param == "older_database" and not older.is_installed():
        pytest.skip("Debian's PostgreSQL 15 is not installed here: this life was lived on 18 only")
    with attachable(env, request.getfixturevalue(request.param), tmp_path) as made:
        owner(made, f"create table {QUOTED} (id int primary key, n int not null, note text)")
        owner(made, f"insert into {QUOTED} select n, 0, 'x' from generate_series(1, {SEATS}) n")
        # Its privileges are written down from here on, so that they can be compared with those at the end.
        owner(made, f"grant select on {QUOTED} to {made.capture_role}")
        owner(made, f"revoke select on {QUOTED} from {made.capture_role}")
        yield made


def owner(airline: Attachable, statement: str) -> None:
    with psycopg.connect(airline.variables["ADMIN_URL"], autocommit=True) as connection:
        connection.execute(statement.encode())


class Writer:
    """The application: writes all the time, in small transactions, and remembers its longest wait."""

    def __init__(self, airline: Attachable) -> None:
        self._url = airline.variables["ADMIN_URL"]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.longest = 0.0
        self.written = 0

    def __enter__(self) -> Writer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        dice = random.Random(SEED)
        with psycopg.connect(self._url, autocommit=True) as connection:
            for number in itertools.count(1_000_000):
                if self._stop.wait(0.004):
                    return
                begun = time.monotonic()
                with connection.transaction():
                    connection.execute(f"insert into {QUOTED} values ({number}, 0, 'new')".encode())
                    seat = dice.randint(1, SEATS)
                    connection.execute(f"update {QUOTED} set n = n + 1 where id = {seat}".encode())
                    connection.execute("update flight set delay_minutes = coalesce(delay_minutes, 0) + 1 where id = 7")
                self.longest = max(self.longest, time.monotonic() - begun)
                self.written += 1


class ApplyProcess:
    """Real `wake apply`s, held between any two of their steps and killed there."""

    def __init__(self, airline: Attachable) -> None:
        self._airline = airline
        self._points = airline.directory / "points"
        self._points.mkdir()
        self._log = airline.directory / "apply.log"

    def kill_everywhere(self) -> list[str]:
        """Kill it once behind every step there is, until nothing is left to do; returns the steps."""
        killed: list[str] = []
        while True:
            process = self._start()
            try:
                if not self._reaches(process, 0):
                    return killed
                steps = re.findall(r"^\d+\. (.*)", self._log.read_text(), re.MULTILINE)
                fresh = next((number for number, what in enumerate(steps) if what not in killed), len(steps) - 1)
                for number in range(fresh + 1):
                    (self._points / f"apply.{number}.hold").unlink()
                    assert self._reaches(process, number + 1)
                killed.append(steps[fresh])
            finally:
                process.kill()
            assert process.wait() == -signal.SIGKILL

    def _start(self) -> subprocess.Popen[bytes]:
        for left in self._points.glob("*.reached"):
            left.unlink()
        for number in range(MOST_STEPS):
            (self._points / f"apply.{number}.hold").touch()
        with self._log.open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "cli.main", "-c", str(self._airline.directory / "wake.yaml"), "apply", "--yes"],
                cwd=REPOSITORY,
                env={**os.environ, **self._airline.variables, "WAKE_FAILPOINTS": str(self._points)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _reaches(self, process: subprocess.Popen[bytes], number: int) -> bool:
        """Whether it comes to this point; else it has ended well."""
        reached = self._points / f"apply.{number}.reached"
        eventually(lambda: reached.exists() or process.poll() is not None, f"apply in front of its step {number}")
        assert process.poll() in (None, 0), self._log.read_text()
        return process.poll() is None


@contextmanager
def consuming(airline: Attachable) -> Generator[None]:
    variables = airline.variables
    tables: dict[str, Any] = {"public.flight": {}}
    config: dict[str, Any] = {
        "kafka": {"bootstrap_servers": variables["KAFKA_BOOTSTRAP"]},
        "connect": {"url": variables["CONNECT_URL"], "secrets": variables["CONNECT_SECRETS"]},
        "ledger": {"url": variables["LEDGER_URL"]},
        "sources": {airline.source: {"capture": variables["CAPTURE_URL"], "tables": tables}},
    }
    with ConsumerProcess(config, airline.directory) as consumer:
        consumer.start()
        yield
        assert consumer.stop() == 0


def wait_mirrored(airline: Attachable, loaded: Loaded) -> None:
    """Until every table's mirror is whole, settling what incremental snapshots have read."""
    source = airline.source
    tending = Tending(loaded.config, source, lambda: databases.capture(loaded, source, purpose="test"))
    wanted = set(loaded.config.sources[source].tables)
    query = 'select "table" from wake.mirror_state where source = %s and complete'
    with airline.ledger() as ledger:
        eventually(
            lambda: (
                tending.look(ledger) and {label for (label,) in ledger.execute(query, (source,)).fetchall()} == wanted
            ),
            f"whole mirrors of {sorted(wanted)}",
        )


def wait_no_gap(airline: Attachable, loaded: Loaded) -> None:
    """Until the gap that was declared is closed, and whatever else Debezium's race over a snapshot has opened."""
    source = airline.source
    tending = Tending(loaded.config, source, lambda: databases.capture(loaded, source, purpose="test"))
    query = "select state, tables from wake.gap where source = %s"
    with airline.ledger() as ledger:

        def is_over() -> bool:
            settled, gaps = tending.look(ledger), ledger.execute(query, (source,)).fetchall()
            return settled and ("closed", ["public.flight"]) in gaps and {state for state, _ in gaps} == {"closed"}

        eventually(is_over, "the end of the gap")


def wait_applied(airline: Attachable) -> None:
    ((lsn,),) = airline.rows("select (pg_current_wal_lsn() - '0/0')::bigint")
    query = 'select from wake.source_position where source = %s and "commit" >= %s'
    with airline.ledger() as ledger:
        eventually(lambda: ledger.execute(query, (airline.source, lsn)).fetchone() is not None, "all of it applied")


def mirrored(airline: Attachable, table: str) -> list[Any]:
    with airline.ledger() as ledger:
        return ledger.execute(f"select * from {airline.source}__public.{table} order by id".encode()).fetchall()


def test_the_whole_life(airline: Attachable) -> None:
    before, loaded = airline.state(), airline.load()
    process = ApplyProcess(airline)
    with Writer(airline) as writer:
        kills = process.kill_everywhere() if airline.database.name != "postgres" else apply(loaded)
        assert len(kills) >= 6
        assert apply(loaded) == []
        with consuming(airline):
            wait_mirrored(airline, loaded)
            loaded = airline.load(ADDED, SHOWN)
            with pytest.raises(RefusedError, match="its capture role may not read every table; run") as caught:
                apply(loaded)
            owner(airline, str(caught.value).partition("\n")[2])
            steps = process.kill_everywhere() if airline.database.name != "postgres" else apply(loaded)
            assert ours(steps) == ["alter", "stop", "store", "put", "configure", "read"]
            wait_mirrored(airline, loaded)
            owner(airline, "update customer set remarks = 'vegetarian' where id = 1")
            written = writer.written
            eventually(lambda: writer.written > written + 50, "some more writes")
            writer.stop()
            wait_applied(airline)
            verify_seats(airline, loaded)
            verify_customer(airline, loaded)
            loaded = airline.load(MASKED)
            assert apply(loaded)[0].startswith("stop connector")
            owner(airline, f"update {QUOTED} set n = -1")
            owner(airline, "update customer set name = 'Anna' where id = 1")
            wait_applied(airline)
            verify_taken_away(airline, loaded)
            assert ours(apply(loaded)) == []
            assert matched(loaded) == ["1 of 1 documents match now"]
            owner(airline, f"alter publication wake_{airline.source} drop table flight")
            owner(airline, "update flight set status = 'nobody was told' where id = 8")
            assert ours(apply(loaded)) == ["declare", "alter", "read"]
            wait_no_gap(airline, loaded)
            assert [row[2] for row in mirrored(airline, "flight")] == ["on time", "nobody was told"]
            assert ours(apply(loaded)) == []
    assert writer.longest < databases.LOCK_TIMEOUT / 1000
    assert detach(loaded, airline.source)
    owner(airline, f"revoke all on {QUOTED} from {airline.capture_role}")
    assert airline.state() == before


def ours(steps: list[str]) -> list[str]:
    """What was done, by its first words; not of tasks that Debezium lost over an incremental snapshot (decision 10)."""
    return [what.split()[0] for what in steps if not what.startswith("restart what failed")]


def matched(loaded: Loaded) -> list[str]:
    with planning(loaded) as plan:
        return [match.said for match in matching.count(loaded, plan)]


def verify_seats(airline: Attachable, loaded: Loaded) -> None:
    """The table that was added: each row told once, each change told once, and the mirror as the table."""
    context = ContextLog.read(loaded.config.kafka, topics.context(airline.source))
    context.verify_contract()
    rows = {f"{ODD}/{row[0]}": row for row in airline.rows(f"select * from {QUOTED}".encode())}
    told: dict[str, list[Any]] = defaultdict(list)
    for event in context.unique:
        if event.event["subject"] in rows:
            told[event.event["subject"]].append(event)
    assert told.keys() == rows.keys()
    for subject, events in told.items():
        assert sum(event.type in ("row.read", "row.inserted") for event in events) <= 1
        assert events[-1].data["after"] == dict(zip(("id", "n", "note"), rows[subject], strict=True))
        for one, two in itertools.pairwise(events):
            assert two.type == "row.updated"
            assert two.data["before"] == one.data["after"] or two.data["missing"] == ["before"]
            assert two.data["after"]["n"] == one.data["after"]["n"] + 1
    assert mirrored(airline, QUOTED) == sorted(rows.values())
    with airline.ledger() as ledger:
        letters = ledger.execute(
            "select * from wake.dead_letter where topic = %s", (topics.changes(airline.source),)
        ).fetchall()
    assert letters == []


def verify_customer(airline: Attachable, loaded: Loaded) -> None:
    """A column that was not captured is there, and one that is masked now is nowhere in clear."""
    ((_, _, email, *rest),) = mirrored(airline, "customer")
    assert sorted(rest) == ["***", "P1234"]
    assert email.startswith("sha256:")
    context = ContextLog.read(loaded.config.kafka, topics.context(airline.source))
    last = [each for each in context.unique if each.event["subject"] == "public.customer/1"][-1]
    assert (last.data["after"]["remarks"], last.data["after"]["passport_no"]) == ("***", "P1234")
    assert "vegetarian" not in json.dumps(last.event)


def verify_taken_away(airline: Attachable, loaded: Loaded) -> None:
    """A mask is in the mirror, too; of a table that is captured no longer nothing is told, and its mirror is gone."""
    ((_, _, _, *rest),) = mirrored(airline, "customer")
    assert any(value.startswith("sha256:") for value in rest)
    context = ContextLog.read(loaded.config.kafka, topics.context(airline.source))
    last = [each for each in context.unique if each.event["subject"] == "public.customer/1"][-1]
    assert last.data["before"]["passport_no"] == last.data["after"]["passport_no"]
    assert last.data["changed"] == ["name"]
    assert "P1234" not in json.dumps(last.event)
    assert not [each for each in context.unique if each.data.get("after") and each.data["after"].get("n") == -1]
    with airline.ledger() as ledger:
        schema = f"{airline.source}__public"
        rows = ledger.execute(
            "select relname from pg_class c where relnamespace = %s::regnamespace and relkind = 'r'", (schema,)
        )
        assert {name for (name,) in rows.fetchall()} == {"flight", "booking", "customer"}
