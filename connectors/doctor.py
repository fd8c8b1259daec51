"""Examines databases, Kafka, Connect and the ledger by named checks, and writes nothing anywhere.

What cannot be asked is a finding itself, and everything else is asked all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from connectors import databases
from connectors.checks import (
    admin,
    adopted,
    connect,
    flush,
    kafka,
    ledger,
    publication,
    roles,
    schema,
    server,
    slot,
    tables,
    types,
)
from connectors.checks import subject as subjects
from connectors.checks.finding import CHECKS, GROUPS, Finding, finding
from connectors.checks.subject import Subject
from connectors.connect import Connect
from connectors.connect import types as connect_types
from connectors.databases import Connection
from wakestream import inspection
from wakestream import kafka as kafka_clients
from wakestream.capture import Capture, CapturedTable
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded
from wakestream.errors import WakeError

CONNECT_PATIENCE = 3.0  # seconds


def examine(loaded: Loaded, source: str | None = None) -> list[Finding]:
    """Examine all that one source, or every one, depends on.

    Raises `ConfigurationError` for a source that the file does not have.
    """
    if source is not None:
        databases.require_source(loaded, source)
    with ExitStack() as stack:
        return _ordered(_Examination(loaded, stack).of([source] if source else list(loaded.config.sources)))


def examine_url(url: str) -> list[Finding]:
    """Examine a database with all its tables as somewhere to attach to, before there is a configuration."""
    with ExitStack() as stack:
        found: list[Finding] = []
        subject = _open(SecretStr(url), "", found, stack)
        if subject is not None:
            found += _of_database(subject, connector=None, asked=False)
        return _ordered(found)


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether any of them is more than a warning."""
    return any(each.level == "error" for each in findings)


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    """By group, errors first, in the order of the list of checks."""
    ids = list(CHECKS)
    return sorted(
        dict.fromkeys(findings),
        key=lambda each: (GROUPS.index(each.group), each.level, ids.index(each.id), each.object),
    )


@dataclass
class _Examination:
    """One examination of a configuration. What is shared by the sources is asked once."""

    loaded: Loaded
    stack: ExitStack
    found: list[Finding] = field(default_factory=list[Finding])

    def of(self, sources: list[str]) -> list[Finding]:
        broker = kafka_clients.admin(self.loaded.config.kafka)
        cluster_id = self._cluster_id(broker)
        worker = self._worker(cluster_id)
        own = self._ledger()
        self._connections()
        for name in sources:
            examine = self._source if self.loaded.config.sources[name].adopt is None else self._adopted
            examine(name, broker if cluster_id else None, worker, own)
        return self.found

    def _tried(self, group: str, of: str, ask: Callable[[], Iterable[Finding]]) -> None:
        self.found += tried(group, of, ask)

    def _cluster_id(self, broker: AdminClient) -> str | None:
        try:
            return broker.list_topics(timeout=kafka_clients.REQUEST_TIMEOUT).cluster_id
        except KafkaException as error:
            servers = self.loaded.config.kafka.bootstrap_servers
            said = f"{servers} does not answer: {kafka_clients.convert(error, 'asking for its topics')}"
            remedy = "none: check kafka.bootstrap_servers, and that the broker runs"
            self.found.append(finding("kafka.unreachable", "kafka", said, remedy))
            return None

    def _worker(self, cluster_id: str | None) -> connect.Worker | None:
        worker: list[connect.Worker] = []

        def ask() -> Iterator[Finding]:
            client = self.stack.enter_context(Connect(self.loaded.config.connect.url, retry_s=CONNECT_PATIENCE))
            every_one_adopted = all(source.adopt is not None for source in self.loaded.config.sources.values())
            for each in connect.examine(self.loaded, client, cluster_id):
                if isinstance(each, connect.Worker):
                    worker.append(each)
                elif not (every_one_adopted and each.id in adopted.OF_OUR_CONNECTORS):
                    yield each

        try:
            self.found += list(ask())
        except WakeError as error:
            remedy = "none: check connect.url, and that the worker runs"
            self.found.append(finding("connect.unreachable", "connect", _line(error), remedy))
        return worker[0] if worker else None

    def _ledger(self) -> Connection | None:
        try:
            session = self.stack.enter_context(databases.ledger_reader(self.loaded, purpose="doctor"))
        except WakeError as error:
            remedy = "none: check ledger.url, and that its server runs"
            self.found.append(finding("ledger.unreachable", "ledger", _line(error), remedy))
            return None
        self._tried("ledger", "ledger", lambda: ledger.examine(self.loaded, session))
        return session

    def _connections(self) -> None:
        for name, url in self.loaded.config.connections.items():
            try:
                session = databases.reader(url, f"connections.{name}", purpose="doctor")
            except WakeError as error:
                remedy = f"none: check connections.{name}, and that its server runs"
                self.found.append(finding("roles.connection_unreachable", f"connections.{name}", _line(error), remedy))
                continue
            with session:
                self._tried(
                    "roles",
                    f"connections.{name}",
                    lambda name=name, session=session: admin.connection(self.loaded.config, name, session),
                )

    def _source(
        self, name: str, broker: AdminClient | None, worker: connect.Worker | None, own: Connection | None
    ) -> None:
        """A source with a connector of ours."""
        config = self.loaded.config
        status: connect_types.Status | None = None
        asked = False
        if worker is not None:
            try:
                status, asked = connect.find(worker.client, name), True
            except WakeError as error:
                self.found.append(unanswered("connect", name, error))
            self._tried("connect", name, lambda: connect.of_source(self.loaded, worker, name, status))
        if broker is not None:
            self._tried("kafka", name, lambda: kafka.examine(config, name, broker))
        subject = self._subject(name)
        if subject is None:
            return
        self.found += _of_database(subject, connector=status, asked=asked)
        self._admin(subject)
        self._tried("kafka", name, lambda: kafka.widest(config, subject))
        if broker is not None and status is not None and status.running:
            self._tried("connect", name, lambda: flush.examine(config, broker, subject))
        if own is not None:
            self._tried("ledger", "ledger", lambda: ledger.beside(subject, own))
            self._tried("tables", subject.whole, lambda: schema.examine(self.loaded, subject, own))

    def _adopted(
        self, name: str, broker: AdminClient | None, worker: connect.Worker | None, own: Connection | None
    ) -> None:
        """A source whose connector, slot and publication are somebody else's."""
        config = self.loaded.config
        if broker is not None:
            self._tried("kafka", name, lambda: kafka.examine(config, name, broker))
        subject = self._subject(name)
        if subject is None:
            return
        existing = inspection.table_names(subject.reader)
        found = tried("tables", subject.whole, lambda: tables.examine(subject, existing))
        self.found += [each for each in found if each.id not in adopted.OTHERS]
        self._tried("types", subject.whole, lambda: types.examine(subject))
        connector = config.sources[name].adopt or ""
        if worker is not None:
            client = worker.client
            self._tried("adopt", name, lambda: adopted.examine(subject, client, connector, config.kafka, broker))
            if own is not None:
                self._tried("adopt", name, lambda: adopted.changed(subject, client, connector, own))
        if own is not None:
            self._tried("ledger", "ledger", lambda: ledger.beside(subject, own))

    def _subject(self, name: str) -> Subject | None:
        source = self.loaded.config.sources[name]
        of_file = {
            label: CapturedTable(t.exclude, dict(t.mask), t.untrusted, t.mirror) for label, t in source.tables.items()
        }
        return _open(source.capture, name, self.found, self.stack, of_file)

    def _admin(self, subject: Subject) -> None:
        try:
            session = databases.admin(self.loaded, subject.source, purpose="doctor")
        except WakeError as error:
            remedy = f"none: check sources.{subject.source}.admin"
            self.found.append(finding("roles.admin_unreachable", subject.of("admin"), _line(error), remedy))
            return
        if session is not None:
            with session:
                session.execute("set default_transaction_read_only = on")
                self._tried("roles", subject.of("admin"), lambda: admin.examine(subject, session))


def _of_database(subject: Subject, *, connector: connect_types.Status | None, asked: bool) -> list[Finding]:
    """The groups that only need the database itself."""
    found = tried("server", subject.whole, lambda: server.examine(subject))
    found += tried("roles", subject.whole, lambda: roles.examine(subject))
    existing = inspection.table_names(subject.reader)
    found += tried("tables", subject.whole, lambda: tables.examine(subject, existing))
    found += tried("types", subject.whole, lambda: types.examine(subject))
    found += tried("publication", subject.whole, lambda: publication.examine(subject, connector=connector is not None))
    if subject.source:
        found += tried("slot", subject.whole, lambda: slot.examine(subject, asked=asked, connector=connector))
    return found


def _open(
    url: SecretStr,
    source: str,
    found: list[Finding],
    stack: ExitStack,
    wanted: dict[str, CapturedTable] | None = None,
) -> Subject | None:
    """A session and what is read over it once; None where that fails, which is a finding then."""
    whole, what = source or "server", f"sources.{source}.capture" if source else "the URL"
    try:
        reader = stack.enter_context(databases.reader(url, what, purpose="doctor", options=databases.UNTIMED))
        with databases.asking(whole):
            return subjects.read(reader, source, wanted)
    except WakeError as error:
        said = _line(error)
        if server.POOLER_SAYS in said:
            found.append(server.pooler(whole, said))
        else:
            remedy = "none: check the URL, pg_hba.conf, and that the server runs"
            found.append(finding("server.unreachable", whole, said, remedy))
        return None


def tried(group: str, of: str, ask: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """What a group of checks finds, and that it could not go on where it could not."""
    found: list[Finding] = []
    try:
        found.extend(ask())
    except (WakeError, psycopg.Error, KafkaException) as error:
        found.append(unanswered(group, of, error))
    return found


def unanswered(group: str, of: str, error: Exception) -> Finding:
    """A question that was not answered; the group's later checks were not made."""
    return finding(f"{group}.unanswered", of, _line(error), "none: see what it says, and run `wake doctor` again")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def obstacles(reader: Connection, source: str, catalogue: Catalogue, capture: Capture) -> list[str]:
    """A line for each thing that would keep a new connector from its slot or its snapshot, and what to do about it."""
    subject = subjects.of_capture(reader, source, catalogue, capture.tables)
    found = [*server.examine(subject), *roles.examine(subject), *slot.examine(subject, asked=True, connector=None)]
    return [f"source {source}: {each.evidence}; {_pasted(each.remedy)}" for each in found if each.level == "error"]


def _pasted(remedy: str) -> str:
    kind, _, text = remedy.partition(": ")
    return text if kind == "none" else f"`{' '.join(remedy.split())}`"
