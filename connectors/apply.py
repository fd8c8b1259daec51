"""Attaches to databases as the file says: reads, compares, and lists as steps what is not so yet.

1 the ledger's schema and keys, 2 each source's catalogue, everything in the file resolved against it and compiled,
3 its revision, 4 topics, 5 the publication, 6 the password for Connect, 7 the connector. Everything up to 2 is checked
before the first step is taken, so that a wrong file changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from connectors import (
    connector_config,
    connector_setup,
    databases,
    ledger_setup,
    preflight,
    publication,
    secrets_setup,
    snapshot_log,
    topics_setup,
)
from connectors.connect import Connect, types
from connectors.connector_config import PLACEHOLDER
from connectors.steps import Report, Step, tell_nobody
from wakestream import capture, inspection, kafka, resolving
from wakestream.capture import Capture, Revision
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded, reveal
from wakestream.errors import ConfigurationError
from wakestream.program import compile_program
from wakestream.program_problems import Problems

CONNECT_PATIENCE = 20.0  # seconds for a worker that is away or busy


@dataclass(frozen=True)
class Plan:
    """What is to be done; carried out while the lock is held under which it was made."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    """What only somebody else can do, and has to."""

    def carry_out(self, report: Report = tell_nobody) -> list[str]:
        """Do it all, in order; returns what was done."""
        done: list[str] = []
        for step in self.steps:
            step.do()
            report(step.what)
            done.append(step.what)
        return done


@dataclass(frozen=True)
class _Attached:
    """One source as it is, and as it should be."""

    name: str
    reader: databases.Connection
    catalogue: Catalogue
    capture: Capture
    previous: Revision | None
    connector: types.Config | None


def apply(loaded: Loaded, report: Report = tell_nobody) -> list[str]:
    """Bring ledger, topics, publications and connectors to what the file says; returns what was done, in order.

    Nothing is done that is done already. Raises `ConfigurationError` before anything is changed.
    """
    with planning(loaded, report) as plan:
        for note in plan.notes:
            report(note)
        return plan.carry_out(report)


@contextmanager
def planning(loaded: Loaded, report: Report = tell_nobody) -> Generator[Plan]:
    """Find out what has to be done, holding the lock that keeps other `apply`s waiting."""
    with ExitStack() as stack:
        writer = stack.enter_context(ledger_setup.locked(reveal(loaded.config.ledger.url), report))
        client = stack.enter_context(Connect(loaded.config.connect.url, retry_s=CONNECT_PATIENCE))
        planner = _Planner(loaded, writer, client, stack)
        yield planner.plan()


@dataclass
class _Planner:
    loaded: Loaded
    ledger: psycopg.Connection
    client: Connect
    stack: ExitStack
    notes: list[str] = field(default_factory=list[str])

    def plan(self) -> Plan:
        first = list(ledger_setup.steps(self.loaded, self.ledger))
        sources = self._examine_all()
        steps = [*first, *(step for source in sources for step in self._source_steps(source))]
        return Plan(tuple(steps), tuple(self.notes))

    def _examine_all(self) -> list[_Attached]:
        """Every source read, resolved and compiled against; all problems of the file are raised together."""
        problems = Problems(self.loaded)
        trial = self.stack.enter_context(databases.ledger_reader(self.loaded))
        sources = [self._examine(name, trial, problems) for name in self.loaded.config.sources]
        _compile(self.loaded, {source.name: source for source in sources}, problems)
        problems.raise_any()
        return sources

    def _examine(self, name: str, trial: databases.Connection, problems: Problems) -> _Attached:
        reader = self.stack.enter_context(databases.capture(self.loaded, name))
        labels = self.loaded.config.sources[name].tables
        previous = ledger_setup.newest_revision(self.ledger, name)
        connector = connector_setup.find(self.client, name)
        placeholder = previous.capture.placeholder if previous else (connector or {}).get(PLACEHOLDER)
        with databases.asking(f"source {name}, reading its catalogue"):
            catalogue = inspection.read_catalogue(reader, name, labels)
            resolved = resolving.examine(
                self.loaded, name, catalogue, reader, problems, ledger=trial, placeholder=placeholder
            )
        return _Attached(name, reader, catalogue, resolved, previous, connector)

    def _source_steps(self, source: _Attached) -> Iterator[Step]:
        config, name = self.loaded.config, source.name
        where = databases.address(self.loaded, name)
        wanted = connector_config.build(config, name, source.capture, where)
        if source.connector is not None:
            connector_setup.refuse_changed_tables(
                name, source.connector, wanted, source.previous, source.catalogue, source.capture
            )
        else:
            with databases.asking(f"source {name}, checking what Debezium needs"):
                preflight.check(source.reader, name, source.catalogue, source.capture)
        yield from self._revision_step(source)
        yield from topics_setup.steps(kafka.admin(config.kafka), name, config.kafka.topics)
        yield from self._publication_steps(source)
        secrets = Path(config.connect.secrets)
        new_secrets = secrets_setup.step(secrets, name, where)
        if new_secrets is not None:
            yield new_secrets
        connector = connector_setup.step(
            self.client, name, source.connector, wanted, new_secrets=new_secrets is not None
        )
        if connector is not None:
            if not secrets_setup.is_ours(secrets):
                self.notes.append(secrets_setup.request(secrets, name, where))
            if source.connector is None:
                connector = connector.after(lambda: self._begin_snapshot(name))
            yield connector

    def _revision_step(self, source: _Attached) -> Iterator[Step]:
        previous = source.previous
        if previous is None or (previous.catalogue, previous.capture) != (source.catalogue, source.capture):
            what = f"store what is captured of {source.name} ({len(source.capture.tables)} tables) as a revision"
            yield Step(what, lambda: self._store(source))

    def _store(self, source: _Attached) -> None:
        with self.ledger.transaction():
            capture.store(self.ledger, source.catalogue, source.capture)

    def _begin_snapshot(self, source: str) -> None:
        snapshot_log.begin(self.ledger, source, snapshot_log.end_of_log(self.loaded.config.kafka, source))

    def _publication_steps(self, source: _Attached) -> list[Step]:
        found = databases.admin(self.loaded, source.name)
        admin = self.stack.enter_context(found) if found is not None else None
        with databases.asking(f"source {source.name}, looking at its publication"):
            return publication.steps(source.reader, admin, source.name, source.catalogue, source.capture)


def _compile(loaded: Loaded, sources: Mapping[str, _Attached], problems: Problems) -> None:
    """Check all that triggers lead to; those whose table or entity has a problem of its own wait for that one."""
    triggers = {
        name: trigger
        for name, trigger in loaded.config.triggers.items()
        if _resolved(trigger.table, trigger.entity, sources)
    }
    revisions = {name: Revision(0, name, each.catalogue, each.capture) for name, each in sources.items()}
    try:
        compile_program(Loaded(loaded.config.model_copy(update={"triggers": triggers}), loaded.document), revisions)
    except ConfigurationError as error:
        for problem in error.problems:
            problems.add_line(problem)


def _resolved(table: str | None, entity: str | None, sources: Mapping[str, _Attached]) -> bool:
    if table is None:
        return any(entity in source.capture.entities for source in sources.values())
    name, _, label = table.partition(".")
    return label in sources[name].capture.tables
