"""What `apply` wants of topics, publication and connector, and what it makes of a connector that exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from connectors import connector_config, connector_setup, databases, publication, secrets_setup, snapshots, topics_setup
from connectors.apply import Plan
from connectors.connect import Connect, types
from connectors.databases import Address
from connectors.steps import Step
from tests.unit.connectors.connect_script import Answer, Script, serving
from wakestream import config, reshaping, secrets_file
from wakestream.capture import Capture, CapturedTable, Revision
from wakestream.catalogue import Catalogue, Column, Table
from wakestream.config import Loaded
from wakestream.config.models import Topics
from wakestream.errors import ConfigurationError, RefusedError

TEXT = """\
kafka: {bootstrap_servers: "k:9092", topics: {max_message_bytes: 2097152}}
connect: {url: "http://c", secrets: /etc/wake/secrets.properties}
ledger: {url: "postgresql://l"}
sources:
  airline:
    capture: "CAPTURE"
    tables:
      public.flight: {}
      app.customer-x: {exclude: [passport_no]}
"""
URL = "postgresql://cap:s%20ecret@db.example:5433/ops?sslmode=verify-full&sslrootcert=/ca.pem"


def table(schema: str, name: str, *columns: str, replica_identity: str = "default") -> Table:
    return Table(schema, name, tuple(Column(c, "text", "text") for c in columns), (columns[0],), replica_identity)


FLIGHT = table("public", "flight", "id", "status")
CUSTOMER = table("app", "customer-x", "id", "name", "passport_no")
CAPTURE = Capture(
    {"public.flight": CapturedTable(), "app.customer-x": CapturedTable(exclude=("passport_no",))}, placeholder="wake_1"
)
STATUS = {
    "name": "wake-airline",
    "connector": {"state": "RUNNING", "worker_id": "w"},
    "tasks": [{"id": 0, "state": "RUNNING", "worker_id": "w"}],
}


def catalogue(*tables: Table, version: int = 180000) -> Catalogue:
    return Catalogue("airline", "1", 1, version, {each.label: each for each in tables or (FLIGHT, CUSTOMER)})


def load(directory: Path, url: str = URL) -> Loaded:
    path = directory / "wake.yaml"
    path.write_text(TEXT.replace("CAPTURE", url))
    return config.load(path, {})


@pytest.fixture
def wanted(tmp_path: Path) -> types.Config:
    loaded = load(tmp_path)
    return connector_config.build(loaded.config, "airline", CAPTURE, databases.address(loaded, "airline"))


def test_the_connector_reads_user_and_password_from_the_file(wanted: types.Config) -> None:
    assert wanted["database.user"] == "${file:/etc/wake/secrets.properties:airline.user}"
    assert wanted["database.password"] == "${file:/etc/wake/secrets.properties:airline.password}"
    assert not any("s ecret" in (value or "") for value in wanted.values())
    assert {key: wanted[f"database.{key}"] for key in ("hostname", "port", "dbname", "sslmode", "sslrootcert")} == {
        "hostname": "db.example",
        "port": "5433",
        "dbname": "ops",
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
    }


def test_everything_of_the_source_goes_into_its_change_log(wanted: types.Config) -> None:
    route = re.compile(wanted["transforms.log.regex"] or "")
    for topic in ("airline.public.flight", "airline.transaction", "airline.message", "airline.notification", "airline"):
        assert route.fullmatch(topic)
    assert route.fullmatch("__debezium-heartbeat.airline")
    assert not route.fullmatch("airline2.public.flight")
    assert wanted["transforms.log.replacement"] == "airline.changes"
    assert wanted["table.include.list"] == r"(?-i)app\.customer\-x,(?-i)public\.flight"
    assert wanted["column.exclude.list"] == r"(?-i)app\.customer\-x\.passport_no"
    assert wanted["message.prefix.include.list"] == r"wake,wake\.clock"
    assert wanted["producer.override.max.request.size"] == "2097152"
    assert wanted["unavailable.value.placeholder"] == "wake_1"
    assert wanted["slot.name"] == wanted["publication.name"] == "wake_airline"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("host=/run/postgresql user=x", "must name one host and a user"),
        ("postgresql://u:p@a,b/db", "must name one host and a user"),
        ("http://u:secret@x", "is no PostgreSQL URL"),
    ],
)
def test_a_url_that_connect_could_not_use(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        databases.address(load(tmp_path, url), "airline")
    assert str(caught.value).startswith(f"{tmp_path}/wake.yaml:6:5: ")
    assert "secret" not in str(caught.value)


def test_an_address_hides_its_password(tmp_path: Path) -> None:
    assert repr(databases.address(load(tmp_path), "airline")) == "Address(cap@db.example:5433/ops)"


def test_excluded_columns_stay_out_of_the_publication_where_that_is_possible() -> None:
    full = table("app", "customer-x", "id", "name", "passport_no", replica_identity="full")
    assert publication.wanted(catalogue(), CAPTURE) == {"app.customer-x": ("id", "name"), "public.flight": None}
    assert publication.wanted(catalogue(version=140000), CAPTURE)["app.customer-x"] is None
    assert publication.wanted(catalogue(FLIGHT, full), CAPTURE)["app.customer-x"] is None


def test_topics() -> None:
    found = topics_setup.wanted("airline", Topics(changes_retention=60.0, context_partitions=3))
    assert {topic: partitions for topic, (partitions, _) in found.items()} == {
        "airline.changes": 1,
        "airline.signal": 1,
        "airline.context": 3,
    }
    assert found["airline.changes"][1]["retention.ms"] == "60000"
    assert found["airline.context"][1] == {
        "max.message.bytes": "16777216",
        "cleanup.policy": "delete",
        "retention.ms": "1209600000",
    }


def test_a_secrets_file_of_ours_is_written_and_another_asked_for(tmp_path: Path) -> None:
    where = Address("h", "5432", "d", "cap", "s ecret", {})
    path = tmp_path / "secrets.properties"
    assert secrets_setup.step(path, "airline", where) is None
    assert "airline.user=cap\n  airline.password=<the password" in secrets_setup.request(path, "airline", where)
    path.write_text("other.password=x\n")
    step = secrets_setup.step(path, "airline", where)
    assert step is not None
    assert "s ecret" not in step.what
    step.do()
    assert secrets_setup.step(path, "airline", where) is None
    assert secrets_setup.remove(path, "airline")
    assert not secrets_setup.remove(path, "airline")
    assert secrets_file.read_properties(path) == {"other.password": "x"}


@pytest.mark.parametrize(
    ("found", "state", "new_secrets", "said"),
    [
        (None, "RUNNING", False, "make connector wake-airline; it makes the replication slot wake_airline"),
        ({"poll.interval.ms": "500"}, "RUNNING", False, "configure connector wake-airline (poll.interval.ms)"),
        ({}, "RUNNING", False, None),
        ({}, "STOPPED", False, "resume connector wake-airline"),
        ({}, "PAUSED", False, "resume connector wake-airline"),
        ({}, "RUNNING", True, "restart connector wake-airline with the new password"),
        ({}, "FAILED", False, "restart what failed of connector wake-airline"),
    ],
)
def test_what_a_connector_needs(
    wanted: types.Config, found: types.Config | None, state: str, new_secrets: bool, said: str | None
) -> None:
    script = Script([Answer(200, {**STATUS, "connector": {"state": state, "worker_id": "w", "trace": "x"}})])
    before = None if found is None else {**wanted, "name": "wake-airline", **found}
    with serving(script), Connect(script.url, retry_s=0) as client:
        step = connector_setup.step(client, "airline", before, wanted, new_secrets=new_secrets)
    assert (step is None) == (said is None)
    assert step is None or step.what.startswith(said or "")


ODD = ("public.Flüge, alle", 'public."quoted"', "public.a\\b", "public.Select", "public.x.y")


def test_odd_names_are_matched_as_they_are_and_found_again() -> None:
    listed = connector_config.included_tables(Capture({label: CapturedTable() for label in ODD}))
    assert connector_config.names_of(listed) == set(ODD)
    assert connector_config.names_of(r"public\.flight, app.seat") == {"public.flight", "app.seat"}


def test_what_somebody_set_by_hand_is_shown_and_only_ours_is_set_back(wanted: types.Config) -> None:
    found = {
        **wanted,
        "name": "wake-airline",
        "poll.interval.ms": "500",
        "x.password": "clear",
        "slot.max.retries": "3",
    }
    step = connector_setup.step(_nobody(), "airline", found, wanted, new_secrets=False)
    assert step is not None
    assert step.what == "configure connector wake-airline (poll.interval.ms)"
    assert "The file wins: poll.interval.ms: 500 → 10" in step.effect
    assert '"slot.max.retries": "3"' in step.command
    assert "clear" not in step.command
    assert connector_setup.foreign(found, wanted) == ["slot.max.retries", "x.password"]
    gone = {key: value for key, value in wanted.items() if key != "column.exclude.list"}
    step = connector_setup.step(_nobody(), "airline", {**wanted, "name": "wake-airline"}, gone, new_secrets=False)
    assert step is not None
    assert "column.exclude.list" not in step.command


def _nobody() -> Connect:
    return Connect("http://127.0.0.1:9", retry_s=0)


def test_what_cannot_change(wanted: types.Config) -> None:
    connector_setup.refuse_renamed("airline", wanted, wanted)
    with pytest.raises(RefusedError, match="topic.prefix is air and must be airline in connector .* cannot change"):
        connector_setup.refuse_renamed("airline", {**wanted, "topic.prefix": "air"}, wanted)
    former = {**wanted, "slot.name": "wake_air"}
    others = {"wake-air": former, "other": wanted, "wake-airline": wanted}
    with pytest.raises(RefusedError, match="attached already, as `air`, which the file does not name"):
        connector_setup.refuse_second("airline", wanted, others, ["airline"])
    connector_setup.refuse_second("airline", wanted, others, ["airline", "air"])
    elsewhere = {"wake-air": {**former, "database.dbname": "another"}}
    connector_setup.refuse_second("airline", wanted, elsewhere, ["airline"])


PUBLISHED: list[
    tuple[Any, Any, list[str]]
] = [  # What there is, what is wanted, and the SQL that makes one of the other.
    (None, {"p.a": None}, ['create publication "wake_s" for table "p"."a" with (publish =']),
    ({"p.a": None}, {"p.a": None}, []),
    ({"p.a": None}, {"p.a": None, "p.b": None}, ['alter publication "wake_s" add table "p"."b"']),
    ({"p.a": None, "p.b": None}, {"p.a": None}, ['alter publication "wake_s" drop table "p"."b"']),
    (
        {"p.a": None},
        {"p.a": ("x", 'y"')},
        ['alter publication "wake_s" drop table "p"."a"', 'alter publication "wake_s" add table "p"."a" ("x", "y""")'],
    ),
]


@pytest.mark.parametrize(("found", "tables", "said"), PUBLISHED)
def test_a_publication_is_altered_only_where_it_differs(
    found: dict[str, publication.Columns] | None, tables: dict[str, publication.Columns], said: list[str]
) -> None:
    published = None if found is None else publication.Published(found)
    made = [each.as_string() for each in publication.statements("s", published, tables)]
    assert len(made) == len(said)
    assert all(text.startswith(start) for text, start in zip(made, said, strict=True))
    step = publication.step(None, "s", published, tables)
    assert (step is None) == (not said)
    if step is not None:
        assert step.lock.startswith("SHARE UPDATE EXCLUSIVE on p.")
        with pytest.raises(RefusedError, match="have its owner run"):
            step.do()


def test_a_publication_has_the_old_and_the_new_while_the_connector_changes() -> None:
    found, tables = {"p.a": ("id",), "p.b": None, "p.c": ("id", "x")}, {"p.a": None, "p.c": ("id", "y"), "p.d": None}
    assert publication.widened(found, tables) == {"p.a": None, "p.b": None, "p.c": ("id", "x", "y"), "p.d": None}


def captured(table: Table, settings: CapturedTable) -> tuple[Catalogue, Capture]:
    return Catalogue("airline", "1", 1, 180000, {table.label: table}), Capture({table.label: settings})


WIDE = table("p", "t", "id", "name", "email")
FATES: list[
    tuple[Table, Any, Table, Any, str | None]
] = [  # How a table was captured, how it will be, and what becomes of its mirror.
    (WIDE, {}, WIDE, {}, None),
    (WIDE, {}, WIDE, {"untrusted": ("name",)}, None),
    (WIDE, {}, WIDE, {"mask": {"email": "hash"}}, "narrower"),
    (WIDE, {"mask": {"email": "hash"}}, WIDE, {"mask": {"email": "redact"}}, "narrower"),
    (WIDE, {"mask": {"email": "redact"}}, WIDE, {"mask": {"email": "hash"}}, "anew"),
    (WIDE, {"mask": {"email": "hash"}}, WIDE, {}, "anew"),
    (WIDE, {}, WIDE, {"exclude": ("email",)}, "narrower"),
    (WIDE, {"exclude": ("email",)}, WIDE, {}, "anew"),
    (WIDE, {"mirror": False}, WIDE, {}, "anew"),
    (WIDE, {}, WIDE, {"mirror": False}, "gone"),
    (WIDE, {}, table("p", "t", "id", "name"), {}, "narrower"),
    (table("p", "t", "id", "name"), {}, WIDE, {}, "wider"),
    (table("p", "t", "id", "name"), {}, WIDE, {"withheld": ("email",)}, None),
    (WIDE, {"withheld": ("email",)}, WIDE, {}, "anew"),
    (WIDE, {}, table("p", "t", "name", "id", "email"), {}, "anew"),
]


@pytest.mark.parametrize(("old", "was", "new", "will", "fate"), FATES)
def test_what_becomes_of_a_mirror(old: Table, was: Any, new: Table, will: Any, fate: str | None) -> None:
    before, after = captured(old, CapturedTable(**was)), captured(new, CapturedTable(**will))
    assert reshaping.compare(Revision(1, "airline", *before), *after) == ({} if fate is None else {"p.t": fate})
    assert reshaping.compare(None, *after) == {}


def test_names_that_an_incremental_snapshot_cannot_read() -> None:
    snapshots.require_readable(['public.Sitz"Plan"Ä', "public.it's", "Über.a(b"])
    for label in ("public.with blank", "my schema.a", 'public."a"', "public.`a`"):
        with pytest.raises(RefusedError, match="rename it, or `wake detach` and `wake apply`"):
            snapshots.require_readable(["public.flight", label])


def test_a_failure_says_what_stands() -> None:
    def fail() -> None:
        raise RefusedError("no")

    said: list[str] = []
    steps = (Step("make a", lambda: None), Step("make b", fail), Step("make c", lambda: None))
    plan = Plan(steps, (), (), "", (), None)
    with pytest.raises(RefusedError, match="no"):
        plan.carry_out(said.append)
    assert said == [
        "make a",
        "stopped at: make b",
        "done and standing: make a",
        "not done: make c. `wake apply` goes on from here",
    ]
