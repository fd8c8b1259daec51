"""Attaching a database for real: least-privilege roles, idempotence, what is left afterwards, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from connectors import snapshot_log
from connectors.apply import apply, planning
from connectors.connect import Connect
from connectors.connect_http import until
from connectors.detach import detach
from connectors.guard import AttachedSource, Watch
from connectors.status import SourceStatus, status
from localstack import Stack
from tests.harness.stack import SourceDatabase
from tests.stack.attaching import PASSWORD, Attachable, attachable
from wakestream import capture, kafka, secrets_file, topics
from wakestream.errors import ConfigurationError, FatalError, RefusedError

T = TypeVar("T")
PATIENCE = 60.0  # seconds


@pytest.fixture
def airline(env: dict[str, str], source_database: SourceDatabase, tmp_path: Path) -> Generator[Attachable]:
    with attachable(env, source_database, tmp_path) as made:
        yield made


@pytest.fixture
def client(env: dict[str, str]) -> Generator[Connect]:
    with Connect(env["CONNECT_URL"]) as client:
        yield client


def awaited(probe: Callable[[], T | None], what: str) -> T:
    return until(time, probe, PATIENCE, lambda: what)


def of(found: list[SourceStatus]) -> dict[str, bool]:
    return {check.name: check.ok for check in found[0].checks}


def test_apply_streams_and_a_second_apply_is_idle(airline: Attachable, client: Connect) -> None:
    loaded = airline.load()
    with planning(loaded) as plan:
        announced = [step.what for step in plan.steps]
    assert airline.rows("select from pg_publication") == []  # Planning changes nothing.
    assert apply(loaded) == announced
    assert apply(loaded) == []
    assert client.status(topics.connector(airline.source)).running
    with airline.superuser() as connection:
        connection.execute("update flight set delay_minutes = 45 where id = 7")
    updates = awaited(lambda: [v for _, v in airline.changes() if b'"op":"u"' in v] or None, "the update")
    assert json.loads(updates[0])["after"]["delay_minutes"] == 45
    log = airline.changes()
    snapshot = [json.loads(value) for _, value in log if b'"op":"r"' in value]
    assert {row["source"]["table"] for row in snapshot} == {"flight", "booking", "customer"}
    assert not any(b"P1234" in value for _, value in log)
    assert any(key == b'{"prefix":"wake.clock"}' for key, _ in log)


def test_what_apply_made(airline: Attachable, client: Connect) -> None:
    loaded, source = airline.attach(), airline.source
    admin = kafka.admin(loaded.config.kafka)
    names = (topics.changes(source), topics.signal(source), topics.context(source))
    assert [kafka.partition_count(admin, name) for name in names] == [1, 1, 6]
    published = airline.rows(
        "select tablename::text, 'passport_no' = any(attnames) from pg_publication_tables order by 1"
    )
    assert published == [("booking", False), ("customer", False), ("flight", False)]
    assert airline.rows("select pubviaroot, puballtables from pg_publication") == [(True, False)]
    assert secrets_file.read_properties(Path(loaded.config.connect.secrets))[f"{source}.password"] == PASSWORD
    config = client.config(topics.connector(source))
    assert not any(PASSWORD in (value or "") or airline.capture_role in (value or "") for value in config.values())
    with airline.ledger() as ledger:
        revision = capture.load(ledger, source)
    assert revision is not None
    assert revision.capture.placeholder == config["unavailable.value.placeholder"]
    entity = revision.capture.entities["booking"]
    assert [(m.name, m.columns) for m in entity.members if not m.many] == [
        ("customer", ("customer_id",)),
        ("flight", ("flight_id",)),
    ]
    assert [(c.name, c.type) for c in entity.computed] == [("late", "bool")]


def test_detach_leaves_the_database_as_it_was(airline: Attachable, client: Connect) -> None:
    before = airline.state()
    loaded, source = airline.attach(), airline.source
    assert airline.state() != before
    done = detach(loaded, source)
    assert len(done) == 4
    assert airline.state() == before
    assert topics.connector(source) not in client.connectors()
    assert not any(name.startswith(f"{source}.") for name in secrets_file.read_properties(_secrets(airline)))
    assert kafka.partition_count(kafka.admin(loaded.config.kafka), topics.context(source)) == 6
    assert detach(loaded, source) == []
    assert len(detach(loaded, source, with_topics=True)) == 3
    airline.attach()  # And again, from the beginning: a new snapshot into new topics.
    awaited(lambda: [v for _, v in airline.changes() if b'"op":"r"' in v] or None, "the new snapshot")


def _secrets(airline: Attachable) -> Path:
    return Path(airline.variables["CONNECT_SECRETS"])


WRONG = [  # What is replaced by what in the file, where the problem is said to be, and what is said.
    ("public.flight: {}", "public.flihgt: {}", "public.flihgt", "no table `public.flihgt` in the database of"),
    ("after.status ==", "after.statsu ==", "after.statsu", "did you mean after.status?"),
    ("> 30\n    fire", '> "30"\n    fire', '> "30"', 'is an integer, "30" is text: compare with 30'),
    ("approval: chosen", "approval: args.note == 'x' && chosen", "args.note", "args is what the model wrote"),
    ("after.status == 'confirmed'", "after.customer.email == 'x'", "after.customer", "excluded or masked"),
    ("fire: enter", "fire: enter\n    fires: leave", "fires", "unknown key `fires`; did you mean `fire`?"),
    ("${CAPTURE_URL}", "${CAPTUER_URL}", "capture:", "the variable CAPTUER_URL is not set; export"),
    (
        "late: flight",
        "late: customer.email is null and flight",
        "customer.email",
        "`email` of public.customer is masked",
    ),
    ("late: flight.delay", "late: flight.dealy", "flight.dealy", "did you mean `delay_minutes`?"),
    ("late: flight", "late: now() > flight.departs_at and flight", "now()", "gives another answer another time"),
    ("order: alternatives.", "order: alternatives.d", "alternatives.dd", "column alternatives.ddeparts_at does not"),
    ("email: hash", "email: hash, id: redact", "id: redact", "is in the primary key of public.customer"),
    ("flight: {via: flight_id}", "flight: {}", "flight: {}\n    compute", "`via: first_flight_id`"),
    ("late:", "status:", "status: fl", "`status` is a column of public.booking; choose another name"),
]


def test_a_wrong_file_changes_nothing(airline: Attachable) -> None:
    for old, new, place, said in WRONG:
        with pytest.raises(ConfigurationError) as caught:
            apply(airline.load((old, new)))
        path = airline.directory / "wake.yaml"
        before, _, _ = path.read_text().partition(place)
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        (problem,) = caught.value.problems
        assert problem.startswith(f"{path}:{line}:{column}: ")
        assert said in problem
    assert airline.rows("select from pg_publication") == []
    assert airline.rows("select from pg_replication_slots where database = current_database()") == []


def test_the_command_says_it_in_one_line_and_exits_2(airline: Attachable) -> None:
    path = airline.write(("public.flight: {}", "public.flihgt: {}"))
    command = [sys.executable, "-m", "cli.main", "-c", str(path), "apply", "--yes"]
    ran = subprocess.run(command, env={**os.environ, **airline.variables}, capture_output=True, text=True, check=False)
    said = (
        f"{path}:9:7: no table `public.flihgt` in the database of `{airline.source}`; did you mean `public.flight`?\n"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", said)


def test_without_an_admin_the_dba_is_told_what_to_run(airline: Attachable) -> None:
    loaded = airline.load(('connections: {ops: "${ADMIN_URL}"}', "connections: {ops: x}"), ADMIN_URL="")
    with pytest.raises(RefusedError, match="does not exist, and .* is not set") as caught:
        apply(loaded)
    statements = [line.strip() for line in str(caught.value).splitlines()[1:]]
    with psycopg.connect(airline.variables["ADMIN_URL"], autocommit=True) as owner:
        for statement in statements:
            owner.execute(statement.encode())
    apply(loaded)
    assert apply(loaded) == []
    with pytest.raises(RefusedError, match=f"drop publication wake_{airline.source}"):
        detach(loaded, airline.source)


def test_a_publication_that_does_not_fit_is_altered(airline: Attachable) -> None:
    with psycopg.connect(airline.variables["ADMIN_URL"], autocommit=True) as owner:
        owner.execute(f"create publication wake_{airline.source} for table flight".encode())
    loaded = airline.load()
    assert any(what.startswith("alter publication") for what in apply(loaded))
    assert len(airline.rows("select from pg_publication_tables")) == 3
    assert apply(loaded) == []


def test_what_would_fail_later_is_said_before(airline: Attachable) -> None:
    with airline.superuser() as connection:
        connection.execute(f"alter role {airline.capture_role} noreplication".encode())
        connection.execute(f"revoke select on flight from {airline.capture_role}".encode())
    with pytest.raises(RefusedError) as caught:
        apply(airline.load())
    assert f'`alter role "{airline.capture_role}" replication;`' in str(caught.value)
    assert 'grant select on "public"."flight" to' in str(caught.value)


def test_topics_with_other_partitions_are_refused(airline: Attachable) -> None:
    loaded = airline.attach()
    detach(loaded, airline.source)
    other = airline.load(("kafka: {", "kafka: {topics: {context_partitions: 3}, "))
    with pytest.raises(RefusedError, match="has 6 partitions and kafka.topics.context_partitions says 3: write 6"):
        apply(other)
    longer = airline.load(("kafka: {", "kafka: {topics: {changes_retention: 1d}, "))
    assert f"set retention.ms=86400000 of topic {topics.changes(airline.source)}" in apply(longer)


def test_entities_change_at_any_time(airline: Attachable) -> None:
    airline.attach()
    changed = apply(airline.load(("    compute:", "    compute:\n      short: booking.id < 10")))
    assert [what.split(" of ")[0] for what in changed] == ["store what is captured"]


def test_a_rotated_password_reaches_the_connector(airline: Attachable, client: Connect) -> None:
    loaded = airline.attach()
    with airline.superuser() as connection:
        connection.execute(f"alter role {airline.capture_role} password 'new'".encode())
    with pytest.raises(FatalError, match="authentication failed"):
        apply(loaded)
    url = airline.variables["CAPTURE_URL"]
    user, _, host = url.partition("@")
    rotated = airline.load(CAPTURE_URL=f"{user.rpartition(':')[0]}:new@{host}")
    assert [what.split()[0] for what in apply(rotated)] == ["write", "restart"]
    assert client.status(topics.connector(airline.source)).running
    airline.variables["CAPTURE_URL"] = f"{user.rpartition(':')[0]}:new@{host}"


def test_status_says_what_is_wrong(airline: Attachable, client: Connect) -> None:
    missing = of(status(airline.load()))
    assert not missing["connector"]
    assert not missing["slot"]
    loaded = airline.attach()
    awaited(lambda: of(status(loaded))["slot"] or None, "an active slot")
    found = status(loaded)
    assert {name for name, ok in of(found).items() if ok} >= {"connector", "slot", "wal", "revision", "gaps"}
    assert {name for name, ok in of(found).items() if not ok} == {"consumer", "mirrors", "agent", "guard"}
    client.stop_and_wait(topics.connector(airline.source))
    stopped = status(loaded)
    assert not of(stopped)["connector"]
    assert not of(stopped)["slot"]
    assert "resume connector" in apply(loaded)[0]


@pytest.fixture
def watch(airline: Attachable, client: Connect) -> Generator[Watch]:
    """The guard over the airline, which must have been attached when it looks."""
    with closing(AttachedSource(airline.load(), airline.source, client)) as source:
        yield Watch(source, time)


def test_the_guard_restarts_what_failed(airline: Attachable, client: Connect, watch: Watch) -> None:
    airline.attach()
    name = topics.connector(airline.source)
    awaited(lambda: _progress(airline) == "complete" or None, "the snapshot")
    client.patch_config(name, {"errors.max.retries": "0", "retriable.restart.connector.wait.ms": "100"})
    client.wait_running(name, PATIENCE)
    ending = (
        "select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null and database"
    )
    awaited(lambda: airline.rows(f"{ending} = current_database()".encode()) or None, "a walsender to end")
    awaited(lambda: client.status(name).failure, "the task to fail")

    def repaired() -> bool | None:
        watch.look()
        return client.status(name).running or None

    awaited(repaired, "the guard to restart it")
    assert "restarted" in _guard_events(airline)


def test_an_interrupted_snapshot_is_started_over(
    airline: Attachable, client: Connect, stack: Stack, watch: Watch
) -> None:
    with airline.superuser() as connection:
        connection.execute(
            "insert into flight select n, 'VIE', 'on time', 0, null, n from generate_series(100, 150000) n"
        )
    airline.attach()
    awaited(lambda: len(client.offsets(topics.connector(airline.source))) or None, "the first offsets")
    assert _progress(airline) == "running"
    slots = airline.rows("select confirmed_flush_lsn from pg_replication_slots where database = current_database()")
    stack.kill("connect")
    stack.up()

    def whole() -> bool | None:
        watch.look()
        return _progress(airline) == "complete" or None

    until(time, whole, 3 * PATIENCE, lambda: "a snapshot in one piece")
    told = [what for what in _guard_events(airline) if what.startswith("snapshot")]
    assert told == ["snapshot interrupted", "snapshot started over"]
    again = airline.rows("select confirmed_flush_lsn from pg_replication_slots where database = current_database()")
    assert again != slots
    log = [value for _, value in airline.changes()]
    begun = max(n for n, value in enumerate(log) if b'"type":"STARTED"' in value)
    rows = [value for value in log[begun:] if b'"op":"r"' in value and b'"table":"flight"' in value]
    assert len(rows) == 149_903
    assert any(b'"type":"COMPLETED"' in value for value in log[begun:])


def _progress(airline: Attachable) -> str:
    with airline.ledger() as ledger:
        return snapshot_log.SnapshotLog(airline.load().config.kafka, airline.source).progress(ledger)


def _guard_events(airline: Attachable) -> list[str]:
    with airline.ledger() as ledger:
        rows = ledger.execute("select what from wake.guard_event where source = %s order by id", (airline.source,))
        return [what for (what,) in rows.fetchall()]


def test_an_unknown_source(airline: Attachable) -> None:
    with pytest.raises(ConfigurationError, match=f"no source `nope` in .*; there are: `{airline.source}`"):
        detach(airline.load(), "nope")


def test_a_partitioned_table_is_one_table(airline: Attachable) -> None:
    with psycopg.connect(airline.variables["ADMIN_URL"], autocommit=True) as owner:
        owner.execute("create table reading (id int primary key, v text) partition by range (id)")
        owner.execute("create table reading_low partition of reading for values from (0) to (100)")
        owner.execute("insert into reading values (1, 'first')")
        owner.execute(f"grant select on reading to {airline.capture_role}".encode())
        airline.attach(("public.flight: {}", "public.flight: {}\n      public.reading: {}"))
        owner.execute("create table reading_high partition of reading for values from (100) to (200)")
        owner.execute("insert into reading values (101, 'later')")

    def of_reading() -> list[Any] | None:
        found = [json.loads(value) for _, value in airline.changes() if b"reading" in value and b'"op":' in value]
        return found if len(found) == 2 else None

    events = awaited(of_reading, "both rows")
    assert [(e["op"], e["source"]["table"], e["after"]["v"]) for e in events] == [
        ("r", "reading", "first"),
        ("c", "reading", "later"),
    ]
