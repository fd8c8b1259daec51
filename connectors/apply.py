"""Attaches to databases as the file says: reads, compares, and lists as steps what is not so yet.

1 the ledger's schema and keys, 2 each source's catalogue, everything in the file resolved against it and compiled,
3 the steps of each source (`source_plan`). Everything up to 2 is checked before the first step is taken, so that a
wrong file changes nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import psycopg

from connectors import (
    adopted_plan,
    adopted_sample,
    adoption,
    connector_config,
    connector_setup,
    databases,
    doctor,
    identity,
    ledger_setup,
    publication,
    script,
)
from connectors.adopted_plan import AdoptedPlan
from connectors.adoption import Adoption
from connectors.connect import Connect
from connectors.connector_config import PLACEHOLDER
from connectors.source_plan import Attached, SourcePlan
from connectors.steps import Report, Step, tell_nobody
from wakestream import inspection, resolving
from wakestream.capture import Revision
from wakestream.catalogue import Catalogue
from wakestream.config import Loaded, reveal
from wakestream.errors import ConfigurationError, RefusedError, WakeError
from wakestream.failpoint import reach
from wakestream.program import Program, compile_program
from wakestream.program_problems import Problems

CONNECT_PATIENCE = 20.0  # seconds for a worker that is away or busy


@dataclass(frozen=True)
class Options:
    """What `apply` may do beyond the usual, or leaves to others."""

    assume_database: bool = False
    """The database's part is a DBA's: it is verified and never done."""
    allow: frozenset[str] = frozenset()
    """`replica-identity`."""


@dataclass(frozen=True)
class Plan:
    """What is to be done; carried out while the lock is held under which it was made."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    """What only somebody else can do, and has to; what is left as it is."""
    refusals: tuple[str, ...]
    """What must be so before the first step is taken, and what makes it so."""
    sql: str
    """The database's part as a script for a DBA; empty where there is none."""
    sources: tuple[Attached, ...]
    program: Program | None

    def carry_out(self, report: Report = tell_nobody) -> list[str]:
        """Do it all, in order; returns what was done.

        Stops at the first failure and reports what stands and what does not. Every step may be repeated.
        """
        if self.refusals:
            raise RefusedError("\n".join(self.refusals))
        done: list[str] = []
        for number, step in enumerate(self.steps):
            reach(f"apply.{number}")
            try:
                step.do()
            except WakeError:
                report(f"stopped at: {step.what}")
                report(f"done and standing: {'; '.join(done) or 'nothing'}")
                left = [each.what for each in self.steps[number + 1 :]]
                report(f"not done: {'; '.join(left) or 'nothing else'}. `wake apply` goes on from here")
                raise
            report(step.what)
            done.append(step.what)
        reach(f"apply.{len(self.steps)}")
        return done


def apply(loaded: Loaded, report: Report = tell_nobody, options: Options = Options()) -> list[str]:  # noqa: B008
    """Bring ledger, topics, publications and connectors to what the file says; returns what was done, in order.

    Nothing is done that is done already. Raises `ConfigurationError` before anything is changed.
    """
    with planning(loaded, report, options) as plan:
        for note in plan.notes:
            report(note)
        return plan.carry_out(report)


@contextmanager
def planning(
    loaded: Loaded,
    report: Report = tell_nobody,
    options: Options = Options(),  # noqa: B008 - frozen
) -> Generator[Plan]:
    """Find out what has to be done, holding the lock that keeps other `apply`s waiting."""
    with ExitStack() as stack:
        writer = stack.enter_context(ledger_setup.locked(reveal(loaded.config.ledger.url), report))
        client = stack.enter_context(Connect(loaded.config.connect.url, retry_s=CONNECT_PATIENCE))
        yield _Planner(loaded, writer, client, stack, options).plan()


@dataclass
class _Planner:
    loaded: Loaded
    ledger: psycopg.Connection
    client: Connect
    stack: ExitStack
    options: Options
    program: Program | None = None
    refusals: list[str] = field(default_factory=list[str])
    adopted: dict[str, Adoption] = field(default_factory=dict[str, Adoption])

    def plan(self) -> Plan:
        first = list(ledger_setup.steps(self.loaded, self.ledger))
        sources = self._examine_all()
        plans = [
            self._adopted_plan(source) if source.name in self.adopted else self._source_plan(source)
            for source in sources
        ]
        steps = [*first, *(step for plan in plans for step in plan.steps())]
        for plan in plans:
            if isinstance(plan, SourcePlan):
                self._judge(plan)
        parts = (script.of(plan.source, plan.before, plan.after) for plan in plans if isinstance(plan, SourcePlan))
        return Plan(
            steps=tuple(steps),
            notes=tuple(note for plan in plans for note in plan.notes),
            refusals=tuple(self.refusals),
            sql="\n".join(filter(None, parts)),
            sources=tuple(sources),
            program=self.program,
        )

    def _examine_all(self) -> list[Attached]:
        """Every source read, resolved and compiled against; all problems of the file are raised together."""
        problems = Problems(self.loaded)
        trial = self.stack.enter_context(databases.ledger_reader(self.loaded))
        sources = [self._examine(name, trial, problems) for name in self.loaded.config.sources]
        self.program = _compile(self.loaded, {source.name: source for source in sources}, problems)
        problems.raise_any()
        return sources

    def _examine(self, name: str, trial: databases.Connection, problems: Problems) -> Attached:
        reader = self.stack.enter_context(databases.capture(self.loaded, name))
        labels = self.loaded.config.sources[name].tables
        previous = ledger_setup.newest_revision(self.ledger, name)
        adopts = self.loaded.config.sources[name].adopt
        connector = adoption.require(self.client, name, adopts) if adopts else connector_setup.find(self.client, name)
        placeholder = previous.capture.placeholder if previous else (connector or {}).get(PLACEHOLDER)
        with databases.asking(f"source {name}, reading its catalogue"):
            catalogue = inspection.read_catalogue(reader, name, labels)
            resolved = resolving.examine(
                self.loaded,
                name,
                self._as_it_will_be(name, catalogue),
                reader,
                problems,
                ledger=trial,
                placeholder=placeholder,
                previous=previous,
            )
            if adopts:
                judged = adoption.judge(adopts, connector or {}, catalogue, resolved.tables, reader)
                self.adopted[name] = judged
                return Attached(name, reader, catalogue, judged.capture(resolved), previous, connector, None)
            published = publication.find(reader, name)
        return Attached(name, reader, catalogue, resolved, previous, connector, published)

    def _as_it_will_be(self, name: str, catalogue: Catalogue) -> Catalogue:
        """With the replica identities that this plan sets."""
        if identity.ALLOW not in self.options.allow:
            return catalogue
        return identity.made_full(catalogue, identity.wanted(self.loaded.config.sources[name], catalogue))

    def _adopted_plan(self, source: Attached) -> AdoptedPlan:
        adopted_plan.refuse_change(source, adopts=True)
        judged = self.adopted[source.name]
        flaws = list(judged.flaws)
        if not judged.refusals:
            flaws += adopted_sample.examine(self.loaded.config.kafka, judged.config, judged.topics)
        judged = replace(judged, flaws=tuple(flaws))
        adopted_plan.refuse(source, judged)
        return AdoptedPlan(self.loaded, self.ledger, source, judged)

    def _source_plan(self, source: Attached) -> SourcePlan:
        adopted_plan.refuse_change(source, adopts=False)
        admin = None if self.options.assume_database else databases.admin(self.loaded, source.name)
        if admin is not None:
            self.stack.enter_context(admin)
        if source.connector is None:
            self._check_new(source)
        else:
            with databases.asking(f"source {source.name}, reading its privileges"):
                grants = "".join(f"\n  {grant}" for grant in script.unreadable(source))
            if grants:
                self.refusals.append(f"source {source.name}: its capture role may not read every table; run{grants}")
        return SourcePlan(self.loaded, self.ledger, self.client, source, admin, identity.ALLOW in self.options.allow)

    def _check_new(self, source: Attached) -> None:
        where = databases.address(self.loaded, source.name)
        wanted = connector_config.build(self.loaded.config, source.name, source.capture, where)
        connectors = {name: listed.info.config for name, listed in self.client.overview().items() if listed.info}
        connector_setup.refuse_second(source.name, wanted, connectors, self.loaded.config.sources)
        with databases.asking(f"source {source.name}, checking what Debezium needs"):
            self.refusals += doctor.obstacles(source.reader, source.name, source.catalogue, source.capture)

    def _judge(self, plan: SourcePlan) -> None:
        """What a DBA has to do first is a refusal, what may be done afterwards a note."""
        name = plan.source.name
        if plan.before and plan.admin is None:
            found = "does not have the tables and settings it needs" if plan.source.published else "does not exist"
            why = (
                "and --assume-database was given"
                if self.options.assume_database
                else f"and sources.{name}.admin is not set"
            )
            listed = "\n".join(f"  {line}" for step in plan.before for line in step.command.splitlines())
            self.refusals.append(
                f"publication wake_{name} {found}, {why}."
                f" Have the owner of the tables run this in the database, and apply again:\n{listed}"
            )
        if plan.after and plan.admin is None:
            listed = "\n".join(f"  {step.command}" for step in plan.after)
            plan.notes.append(f"when everything is done, have the owner of the tables run:\n{listed}")


def _compile(loaded: Loaded, sources: Mapping[str, Attached], problems: Problems) -> Program | None:
    """Check all that triggers lead to; those whose table or entity has a problem of its own wait for that one."""
    triggers = {
        name: trigger
        for name, trigger in loaded.config.triggers.items()
        if _resolved(trigger.table, trigger.entity, sources)
    }
    revisions = {name: Revision(0, name, each.catalogue, each.capture) for name, each in sources.items()}
    try:
        return compile_program(
            Loaded(loaded.config.model_copy(update={"triggers": triggers}), loaded.document), revisions
        )
    except ConfigurationError as error:
        for problem in error.problems:
            problems.add_line(problem)
    return None


def _resolved(table: str | None, entity: str | None, sources: Mapping[str, Attached]) -> bool:
    if table is None:
        return any(entity in source.capture.entities for source in sources.values())
    name, _, label = table.partition(".")
    return label in sources[name].capture.tables
