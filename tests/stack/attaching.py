"""A database of somebody's, with roles that may do what they must and no more, and a configuration that attaches it."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
from confluent_kafka import TopicPartition
from psycopg import sql

from connectors.apply import apply
from connectors.detach import detach
from tests.harness.stack import SourceDatabase
from wakestream import config, kafka, topics
from wakestream.config import Loaded

PASSWORD = "p w:{#=\\ü"  # what a properties file and a URL could trip over

SCHEMA = """
    create type booking_status as enum ('confirmed', 'cancelled');
    create table flight (
        id int primary key, origin text not null, status text, delay_minutes int,
        departs_at timestamptz, fare numeric(10, 2)
    );
    create table customer (id int primary key, name text, email text, passport_no text, remarks text);
    create table booking (
        id int primary key, customer_id int not null references customer, flight_id int not null references flight,
        status booking_status not null, first_flight_id int references flight
    );
    insert into flight values (7, 'VIE', 'on time', 0, '2026-11-22 10:00Z', 100), (8, 'VIE', 'on time', 0, null, 120);
    insert into customer values (1, 'Ann', 'ann@example.org', 'P1234', 'vegan');
    insert into booking values (42, 1, 7, 'confirmed', null);
"""

TEMPLATE = """\
kafka: {bootstrap_servers: "${KAFKA_BOOTSTRAP}"}
connect: {url: "${CONNECT_URL}", secrets: "${CONNECT_SECRETS}"}
ledger: {url: "${LEDGER_URL}", lookups: "${LOOKUPS_URL}"}
sources:
  SOURCE:
    capture: "${CAPTURE_URL}"
    admin: "${ADMIN_URL:-}"
    tables:
      public.flight: {}
      public.booking: {}
      public.customer: {exclude: [passport_no], mask: {email: hash}, untrusted: [remarks]}
connections: {ops: "${ADMIN_URL}"}
entities:
  booking:
    root: SOURCE.public.booking
    include:
      alternatives:
        table: public.flight
        many: true
        where: alternatives.origin = flight.origin and alternatives.id <> flight.id
        order: alternatives.departs_at
        limit: 5
      customer: {}
      flight: {via: flight_id}
    compute:
      late: flight.delay_minutes > 30 and booking.status = 'confirmed'
triggers:
  disrupted:
    entity: booking
    when: after.status == 'confirmed' && after.flight.delay_minutes > 30
    fire: enter
    agent: rebooker
agents:
  rebooker: {instructions: prompt.md, actions: [rebook]}
actions:
  rebook:
    kind: sql
    connection: ops
    statement: update booking set flight_id = :to_flight where id = :booking
    bind: {booking: after.id}
    choose: {to_flight: {from: after.alternatives, key: id}}
    approval: chosen.to_flight.fare > after.flight.fare + 200.0
models:
  default: {provider: local}
"""


@dataclass(frozen=True)
class Attachable:
    """A source that can be attached, under a name that no other test uses."""

    source: str
    database: SourceDatabase
    directory: Path
    variables: dict[str, str]
    capture_role: str
    admin_role: str

    def write(self, *replacements: tuple[str, str]) -> Path:
        text = TEMPLATE.replace("SOURCE", self.source)
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = self.directory / "wake.yaml"
        path.write_text(text)
        (self.directory / "prompt.md").write_text("Booking {{ key.id }}\n")
        return path

    def load(self, *replacements: tuple[str, str], **variables: str) -> Loaded:
        return config.load(self.write(*replacements), {**self.variables, **variables})

    def attach(self, *replacements: tuple[str, str]) -> Loaded:
        loaded = self.load(*replacements)
        apply(loaded)
        return loaded

    def superuser(self) -> psycopg.Connection:
        return psycopg.connect(self.database.url, autocommit=True)

    def ledger(self) -> psycopg.Connection:
        return psycopg.connect(self.variables["LEDGER_URL"], autocommit=True)

    def rows(self, query: Any) -> list[Any]:
        with self.superuser() as connection:
            return connection.execute(query).fetchall()

    def state(self) -> list[Any]:
        """What attaching could leave behind in the database."""
        return [
            self.rows(query)
            for query in (
                "select pubname from pg_publication",
                "select slot_name from pg_replication_slots where database = current_database()",
                "select rolname, rolsuper, rolreplication, rolconnlimit from pg_roles order by 1",
                "select c.oid, relname, relkind, relreplident, relacl::text, relowner from pg_class c"
                " where relnamespace = 'public'::regnamespace order by 1",
                "select nspname from pg_namespace order by 1",
            )
        ]

    def changes(self) -> list[tuple[bytes, bytes]]:
        """Everything in the change log now, as key and value."""
        reader = kafka.reader(self.load().config.kafka, "test")
        topic = topics.changes(self.source)
        try:
            low, high = kafka.watermarks(reader, topic, 0)
            reader.assign([TopicPartition(topic, 0, low)])
            found: list[tuple[bytes, bytes]] = []
            while low + len(found) < high:
                for message in reader.consume(1000, 1.0):
                    assert message.error() is None
                    found.append((_bytes(message.key()), _bytes(message.value())))
            return found
        finally:
            reader.close()


def _bytes(text: str | bytes | None) -> bytes:
    return text.encode() if isinstance(text, str) else text or b""


@contextmanager
def attachable(env: dict[str, str], database: SourceDatabase, directory: Path) -> Generator[Attachable]:
    tag = secrets.token_hex(4)
    capture, admin = f"capture_{tag}", f"owner_{tag}"
    with psycopg.connect(database.url, autocommit=True) as connection:
        for role, options in ((capture, "login replication"), (admin, "login")):
            statement = sql.SQL("create role {} {} password {}")
            connection.execute(statement.format(sql.Identifier(role), sql.SQL(options), sql.Literal(PASSWORD)))
        owner, reader = sql.Identifier(admin), sql.Identifier(capture)
        name = sql.Identifier(database.name)
        connection.execute(sql.SQL("grant create on database {} to {}").format(name, owner))
        connection.execute(sql.SQL("grant create on schema public to {}").format(owner))
        connection.execute(sql.SQL("set role {}").format(owner))
        connection.execute(SCHEMA)
        connection.execute(sql.SQL("grant select on all tables in schema public to {}").format(reader))
    parts = urlsplit(database.url)
    urls = {
        variable: parts._replace(netloc=f"{role}:{quote(PASSWORD, safe='')}@{parts.hostname}:{parts.port}").geturl()
        for variable, role in (("CAPTURE_URL", capture), ("ADMIN_URL", admin))
    }
    made = Attachable(f"air_{tag}", database, directory, {**env, **urls}, capture, admin)
    try:
        yield made
    finally:
        detach(made.load(), made.source, with_topics=True)
        with psycopg.connect(database.url, autocommit=True) as connection:
            for role in (capture, admin):
                connection.execute(sql.SQL("drop owned by {} cascade").format(sql.Identifier(role)))
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
